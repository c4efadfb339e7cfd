"""`hyperfit train`: train one run and write its RUN folder, or go on with one that stopped."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from hyperfitting.config import RunConfig
from hyperfitting.config.layers import flatten
from hyperfitting.data.store import save_dataset
from hyperfitting.data.windows import Dataset
from hyperfitting.errors import InputError, InterruptedRunError
from hyperfitting.faults import going_on
from hyperfitting.models.devices import faster_bf16, peak_bytes
from hyperfitting.progress import Progress, Stage
from hyperfitting.records.manifest import RunManifest, TrainingOutcome
from hyperfitting.records.record import write_file
from hyperfitting.report.figures.training import save_run_figure
from hyperfitting.runs import RunFolder, require_free
from hyperfitting.storage import only_writer, share, sweep_temporaries, sweep_temporaries_in
from hyperfitting.train.checkpoints import Checkpoints, TrainState
from hyperfitting.train.dataset import read_dataset
from hyperfitting.train.engine import engine_window_losses
from hyperfitting.train.loop import Trainer, make_optimizer
from hyperfitting.train.manifest import (
    checkpoint_about,
    loss_interval,
    new_manifest,
    same_run,
    training_outcome,
)
from hyperfitting.train.parts import RunParts, run_parts
from hyperfitting.train.saving import save_result
from hyperfitting.train.setup import Setup, set_up
from hyperfitting.train.watch import make_monitor
from hyperfitting.writable import require_writable

USER_CACHE = Path("hyperfitting") / "prefix-cache"


def user_cache_folder() -> Path:
    """Where disk caches of lone runs are shared: `$XDG_CACHE_HOME`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / USER_CACHE


def train(
    config: RunConfig,
    out: str | Path,
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
    progress, run = progress or Progress(), RunFolder(Path(out))
    run.require_own()
    before = run.started() if resume else None
    if before is None:
        _require_new(run)
    elif before.status == "complete":
        progress.say(f"{out} is complete: there is nothing to resume")
        if not run.figure_file.exists():
            losses = before.outcome.train_loss
            save_run_figure(run.metrics(), losses, before.arm, run.figure_file)
        return run
    require_writable(run.path)
    pinned = config if before is None else _at_its_commit(config, before)
    if dataset is None:
        day = None if before is None else before.template_date
        dataset = read_dataset(pinned, progress, day)
    parts = replace(run_parts(run, pinned, dataset, progress), config=config)
    go_on = f"hyperfit train --resume --out {run.path}"
    with only_writer(run.path), going_on(go_on, run.manifest_file):
        before = run.started() if resume else None
        if before is None:
            require_free(run.path)  # again: another process may have been faster
        setup = _set_up(parts, cache_folder)
        manifest = new_manifest(parts, setup, sources or {})
        if before is not None:
            manifest = same_run(before, manifest)
        _begin(parts, setup, manifest)
        parts = replace(parts, trainable=parts.trainable.with_start_in(run.path))
        trainer = _trainer(parts, setup, manifest)
        if resume:
            _restore(run, trainer, progress)
        try:
            steps = config.train.epochs * config.train.steps_per_epoch(len(setup.train))
            with progress.stage(f"train {_title(manifest)}", steps) as trainer.stage:
                state = trainer.run()
                outcome = _outcome(parts, setup, state)
                trainer.stage.update(state.step, _summary(parts, setup, outcome))
            trainer.optimizer.zero_grad(set_to_none=True)
            trainer.optimizer.state.clear()  # room for the model that is read back
            save_result(parts)
            if config.monitor.track:
                parts.accelerator.end_training()
            # Before the run is complete: a run that is killed here is resumed and drawn again.
            save_run_figure(run.metrics(), outcome.train_loss, manifest.arm, run.figure_file)
            files = run.sealed_files()
            done = {"status": "complete", "training": outcome, "files": files}
            write_file(run.manifest_file, manifest.model_copy(update=done))
        except KeyboardInterrupt:  # outside the loop, or a second one
            assert trainer.checkpoints is not None
            if kept := trainer.checkpoints.steps():
                raise InterruptedRunError(kept[-1], run.path) from None
            raise
    return run


def _at_its_commit(config: RunConfig, before: RunManifest) -> RunConfig:
    """The config of a resumed run, with the commit of its hub model where it named a branch."""
    began = before.settings.model
    if (config.model.name, config.model.revision) != (began.name, began.revision):
        return config  # `same_run` refuses it, but for a folder, which has no commit
    update = {"revision": before.base_model().revision}
    return config.model_copy(update={"model": config.model.model_copy(update=update)})


def _require_new(run: RunFolder) -> None:
    """Refuse a folder that is taken; where a run was stopped in it or goes on, say that.

    Raises:
        InputError: it is taken.
    """
    if run.manifest_file.is_file():
        with only_writer(run.path):  # or the message names the process that trains here
            before = run.started()
        if before is not None and before.status != "complete":
            raise InputError(
                f"the output folder {run.path} holds a run that was stopped before it was complete",
                needed="a new or empty folder, or --resume to go on with that run",
                hint=f"hyperfit train --resume --out {run.path}",
            )
    require_free(run.path)


def _set_up(parts: RunParts, cache_folder: Path | None) -> Setup:
    """The engine, and what it reads its windows from."""
    config, dataset = parts.config, parts.dataset
    identity = (parts.model_digest, parts.architecture_digest, parts.precision)
    return set_up(
        parts.trainable,
        dataset.train,
        dataset.heldout.first(config.monitor.num_windows),
        config.train,
        autocast=parts.accelerator.autocast,
        device=parts.device,
        model_digest=" ".join(identity),
        cache_folder=Path(config.train.prefix_cache.folder or cache_folder or user_cache_folder()),
        progress=parts.progress,
    )


def _begin(parts: RunParts, setup: Setup, manifest: RunManifest) -> None:
    """Write what the folder of a run that trains holds, and tell what a person should know."""
    run = parts.run
    for path in (run.manifest_file, run.metrics_file, run.adapter, run.model):
        sweep_temporaries(path)
    sweep_temporaries_in(run.checkpoints, "step-*")
    write_file(run.manifest_file, manifest)
    save_dataset(run.windows_file, parts.dataset)
    share(run.windows_file)
    if len(parts.tokens.ends) > 1:
        parts.progress.say(f"  {parts.tokens.ends_in_words()}")
    if parts.config.train.learning_rate == "auto":
        rate = parts.trainable.learning_rate
        parts.progress.say(f"  learning rate {rate:g}, by the size of the trained weights")
    hint = faster_bf16(parts.config.train.precision, parts.precision, parts.device)
    for note in filter(None, [*setup.notes, hint]):
        parts.progress.say(f"  {note}")


def _trainer(parts: RunParts, setup: Setup, manifest: RunManifest) -> Trainer:
    config = parts.config
    if config.monitor.track:
        settings = {key: str(value) for key, value in flatten(manifest.config).items()}
        parts.accelerator.init_trackers("hyperfitting", config=settings)
    monitor = make_monitor(parts, setup)
    return Trainer(
        trainable=parts.trainable,
        engine=setup.engine,
        source=setup.train,
        config=config.train,
        accelerator=parts.accelerator,
        optimizer=make_optimizer(parts.trainable, config.train),
        stage=Stage("train", None),
        monitor=monitor if config.monitor.every_epochs else None,
        every_epochs=config.monitor.every_epochs,
        checkpoints=Checkpoints(parts.run.checkpoints, checkpoint_about(manifest)),
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


def _outcome(parts: RunParts, setup: Setup, state: TrainState) -> TrainingOutcome:
    """What training did, with the final loss over its windows, per predicted token."""
    losses = engine_window_losses(setup.engine, setup.train, parts.config.train.batch_size)
    final_loss = float(np.average(losses, weights=setup.train.labels_N))
    interval = loss_interval(losses, setup.train.labels_N)
    peak = peak_bytes(parts.device)
    return training_outcome(state, final_loss, setup.prefix_seconds, interval, peak)


def _title(manifest: RunManifest) -> str:
    null = manifest.settings.data.null
    return manifest.arm if null == "none" else f"{manifest.arm} on {null} windows"


def _summary(parts: RunParts, setup: Setup, outcome: TrainingOutcome) -> str:
    stopped = outcome.stopped_by
    early = "" if stopped == "epochs" else f" (stopped by {stopped})"
    return (
        f"{len(setup.train)} windows x {outcome.epochs} epochs{early}, final loss "
        f"{outcome.final_loss:.3f}, {parts.trainable.count:,} trained parameters"
    )
