"""Train one run and write its RUN folder, or go on with one that stopped."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from hyperfitting.config import RunConfig
from hyperfitting.config.layers import Resolved, flatten
from hyperfitting.config.methods import METHODS
from hyperfitting.data.store import save_dataset
from hyperfitting.data.windows import Dataset, Windows
from hyperfitting.errors import InputError, InterruptedRunError
from hyperfitting.models.checkpoint import locate, require_whole
from hyperfitting.models.devices import (
    choose_device,
    choose_precision,
    halve_frozen_weights,
    make_accelerator,
)
from hyperfitting.models.digests import architecture_digest, model_digest
from hyperfitting.models.fit import check_fit
from hyperfitting.models.load import (
    is_quantized,
    load_model,
    load_tokenizer,
    quiet_transformers,
    stored_quantization,
)
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.progress import Progress, Stage
from hyperfitting.records.manifest import RunManifest
from hyperfitting.records.record import write_file
from hyperfitting.report.figures.training import save_run_figure
from hyperfitting.runs import RunFolder, require_free
from hyperfitting.storage import (
    new_directory,
    only_writer,
    read_json,
    sweep_temporaries,
)
from hyperfitting.train.checkpoints import Checkpoints, TrainState
from hyperfitting.train.dataset import read_dataset
from hyperfitting.train.engine import engine_window_losses
from hyperfitting.train.loop import Trainer, make_optimizer
from hyperfitting.train.lora import save_adapter
from hyperfitting.train.manifest import (
    checkpoint_about,
    loss_interval,
    new_manifest,
    same_run,
    training_outcome,
)
from hyperfitting.train.methods import prepare, require_trainable
from hyperfitting.train.setup import Setup, set_up, steps_per_epoch
from hyperfitting.train.trainable import Trainable
from hyperfitting.train.watch import make_monitor

USER_CACHE = Path("hyperfitting") / "prefix-cache"


def user_cache_folder() -> Path:
    """Where disk caches of lone runs are shared: `$XDG_CACHE_HOME`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / USER_CACHE


def train(
    config: RunConfig,
    out: Path,
    progress: Progress | None = None,
    *,
    sources: Mapping[str, str] | None = None,
    resume: bool = False,
    dataset: Dataset | None = None,
    cache_folder: Path | None = None,
) -> RunFolder:
    """Train one method on one data set into the new folder `out`, or go on with the run there.

    Args:
        config: everything the run depends on; `config.resolve.run_config` makes one with the
            values that suit its method.
        out: a new folder, or with `resume` that of a run that stopped.
        progress: where progress is shown.
        sources: where each value of the config comes from, for the manifest.
        resume: go on from the newest whole checkpoint, or from the start.
        dataset: the texts, read before.
        cache_folder: of a prefix cache on disk; by default the user's cache.

    Raises:
        InputError: the folder is taken, or model, data or settings do not fit.
        InterruptedRunError: Ctrl-C; the run was saved and can be resumed.
    """
    progress, run = progress or Progress(), RunFolder(out)
    if not (resume and run.manifest_file.exists()):
        require_free(out)
    elif run.is_complete():
        progress.say(f"{out} is complete: there is nothing to resume")
        return run
    if dataset is None:
        started = read_json(run.manifest_file) if resume and run.manifest_file.exists() else {}
        dataset = read_dataset(config, progress, started.get("template_date"))
    resolved = Resolved(config, sources or {})
    train_run(run, resolved, dataset, progress, cache_folder=cache_folder, resume=resume)
    save_run_figure(run.metrics(), METHODS[config.train.method].arm, run.figure_file)
    return run


def train_run(
    run: RunFolder,
    resolved: Resolved[RunConfig],
    dataset: Dataset,
    progress: Progress,
    *,
    cache_folder: Path | None = None,
    resume: bool = False,
) -> None:
    """Train as the config says and leave a complete RUN folder.

    Everything is checked before the folder exists; the manifest says `complete` last. With
    `resume` a run that stopped goes on from its newest whole checkpoint, or from the start.

    Raises:
        InputError: the model cannot be loaded or does not fit the data, training diverges, or
            the run to resume is of something else.
        InterruptedRunError: Ctrl-C; the run can be resumed.
    """
    config = resolved.config
    steps_per_epoch(config.train, len(dataset.train))
    device = choose_device(config.model)
    precision = choose_precision(config.train.precision, device)
    tokenizer = load_tokenizer(config.model)
    model = _load_to_train(config)
    _check_fit(model, dataset, config)
    digests = {
        "model_digest": model_digest(model),
        "architecture_digest": architecture_digest(model),
    }
    tokens = Tokens.of(model, tokenizer)
    if precision == "bf16" and METHODS[config.train.method].has_adapters:
        halve_frozen_weights(model)
    if not is_quantized(model):
        model.to(device)
    trainable = prepare(model, config.train)
    accelerator = make_accelerator(
        device, precision, track=config.monitor.track, folder=run.trackers
    )
    with only_writer(run.path):
        if not resume or not run.manifest_file.exists():
            require_free(run.path)  # again: another process may have been faster
        setup = set_up(
            trainable,
            dataset.train,
            _first(dataset.heldout, config.monitor.num_windows),
            config.train,
            autocast=accelerator.autocast,
            device=device,
            model_digest=" ".join([*digests.values(), precision]),
            cache_folder=Path(
                config.train.prefix_cache.folder or cache_folder or user_cache_folder()
            ),
            progress=progress,
        )
        ends = tokens.listed_ends()
        manifest = new_manifest(resolved, dataset, trainable, digests, precision, setup, ends)
        if resume and (before := run.started()):
            manifest = same_run(before, manifest)
        for path in (run.manifest_file, run.metrics_file, run.adapter, run.model):
            sweep_temporaries(path)
        sweep_temporaries(run.checkpoints / "step-*")
        write_file(run.manifest_file, manifest)
        save_dataset(run.windows_file, dataset)
        if len(tokens.ends) > 1:
            progress.say(f"  {tokens.ends_in_words()}")
        for note in setup.notes:
            progress.say(f"  {note}")
        trainer = _trainer(
            run, config, dataset, trainable, setup, accelerator, tokens, progress, manifest
        )
        if resume:
            _restore(run, trainer, progress)
        try:
            _train_and_save(run, trainer, setup, config, tokenizer, manifest, progress)
        except KeyboardInterrupt:  # outside the loop, or a second one
            assert trainer.checkpoints is not None
            if steps := trainer.checkpoints.steps():
                raise InterruptedRunError(steps[-1], run.path) from None
            raise


def _load_to_train(config: RunConfig) -> CausalLM:
    """The base model in main memory; a quantised one where it stays, on its device.

    Raises:
        InputError: it cannot be loaded, or is quantised and the method trains its weights.
    """
    checkpoint = require_whole(locate(config.model))
    stored = stored_quantization(checkpoint)
    require_trainable(config.train, config.model.name, stored)
    if stored or config.model.quantization != "none":
        return load_model(config.model)
    return load_model(config.model.model_copy(update={"device": "cpu"}))


def _check_fit(model: CausalLM, dataset: Dataset, config: RunConfig) -> None:
    check_fit(
        model,
        max(int(dataset.train.ids_NT.max()), int(dataset.heldout.ids_NT.max())),
        max(
            config.data.window_tokens,
            max(map(len, dataset.contexts.contexts)) + config.data.continuation_tokens,
        ),
        config.model.name,
    )


def _first(windows: Windows, count: int) -> Windows:
    return replace(
        windows,
        ids_NT=windows.ids_NT[:count],
        label_NT=windows.label_NT[:count],
        length_N=windows.length_N[:count],
    )


def _trainer(
    run: RunFolder,
    config: RunConfig,
    dataset: Dataset,
    trainable: Trainable,
    setup: Setup,
    accelerator: Accelerator,
    tokens: Tokens,
    progress: Progress,
    manifest: RunManifest,
) -> Trainer:
    if config.monitor.track:
        settings = {key: str(value) for key, value in flatten(manifest.config).items()}
        accelerator.init_trackers("hyperfitting", config=settings)
    monitor = make_monitor(run, config, dataset, trainable, setup, accelerator, tokens, progress)
    return Trainer(
        trainable,
        setup.engine,
        setup.train,
        config.train,
        accelerator,
        make_optimizer(trainable, config.train),
        Stage("train", None),
        monitor if config.monitor.every_epochs else None,
        config.monitor.every_epochs,
        Checkpoints(run.checkpoints, checkpoint_about(manifest)),
    )


def _restore(run: RunFolder, trainer: Trainer, progress: Progress) -> None:
    """Load the newest whole checkpoint, and take back the metrics written after it."""
    assert trainer.checkpoints is not None
    step = trainer.checkpoints.newest(progress)
    if step is None:
        run.replace_metrics([])
        progress.say(f"{run.path} has no checkpoint yet: training starts from the beginning")
        return
    tensors = trainer.trainable.tensors()
    trainer.state = trainer.checkpoints.load(step, tensors, trainer.optimizer)
    run.replace_metrics(trainer.state.rows)
    progress.say(f"resumed after step {step} (epoch {trainer.state.epoch})")


def _train_and_save(
    run: RunFolder,
    trainer: Trainer,
    setup: Setup,
    config: RunConfig,
    tokenizer: Tokenizer,
    manifest: RunManifest,
    progress: Progress,
) -> None:
    trainable = trainer.trainable
    steps = config.train.epochs * steps_per_epoch(config.train, len(setup.train))
    with progress.stage(f"train {manifest.arm}", steps) as stage:
        trainer.stage = stage
        state = trainer.run()
        losses = engine_window_losses(setup.engine, setup.train, config.train.batch_size)
        # Per predicted token, as the loss in training.
        final_loss = float(np.average(losses, weights=setup.train.labels_N))
        interval = loss_interval(losses, setup.train.labels_N)
        stage.update(state.step, _summary(state, final_loss, len(setup.train), trainable))
    trainer.optimizer.zero_grad(set_to_none=True)  # room for the model that is read back
    _save_result(run, trainable, tokenizer, config)
    if config.monitor.track:
        trainer.accelerator.end_training()
    outcome = training_outcome(state, final_loss, setup.prefix_seconds, interval)
    done = manifest.model_copy(update={"status": "complete", "training": outcome})
    write_file(run.manifest_file, done)


def _summary(state: TrainState, loss: float, windows: int, trainable: Trainable) -> str:
    early = "" if state.stopped_by == "epochs" else f" (stopped by {state.stopped_by})"
    return (
        f"{windows} windows x {len(state.train_loss)} epochs{early}, final loss {loss:.3f}, "
        f"{trainable.count:,} trained parameters"
    )


def _save_result(
    run: RunFolder, trainable: Trainable, tokenizer: Tokenizer, config: RunConfig
) -> None:
    """The adapter or the model, complete or not at all."""
    target = run.adapter if trainable.has_adapter else run.model
    with new_directory(target) as folder:
        if trainable.has_adapter:
            save_adapter(trainable.model, trainable.initial, folder, config.train.lora)
            return
        with quiet_transformers():
            trainable.model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        _require_saved(trainable.model, folder, config)


def _require_saved(model: CausalLM, folder: Path, config: RunConfig) -> None:
    """Refuse a saved model that is not read back as what was trained.

    Raises:
        InputError: its weights differ; the run and its checkpoints stay as they are.
    """
    saved = config.model.model_copy(update={"name": str(folder), "revision": None, "device": "cpu"})
    if model_digest(load_model(saved)) != model_digest(model):
        raise InputError(
            f"the model that was saved is not what was trained: {config.model.name} is not read "
            "back by transformers as it was written",
            needed="a model that save_pretrained and from_pretrained keep as it is",
            hint="--method full_lora leaves an adapter; the checkpoints of this run are kept",
        )
