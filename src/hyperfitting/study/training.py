"""Train one run and write its RUN folder, or go on with one that stopped."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from hyperfitting.config import RunConfig
from hyperfitting.data.sources import read_documents
from hyperfitting.data.store import save_dataset
from hyperfitting.data.windows import Dataset, Windows, build_dataset
from hyperfitting.errors import InputError
from hyperfitting.generate.decode import Decoded
from hyperfitting.models.blocks import whole_model
from hyperfitting.models.devices import (
    Precision,
    choose_device,
    choose_precision,
    halve_frozen_weights,
    make_accelerator,
)
from hyperfitting.models.load import (
    check_fit,
    load_model,
    load_tokenizer,
    model_digest,
    quiet_transformers,
)
from hyperfitting.progress import Progress, Stage
from hyperfitting.records import MonitorRow
from hyperfitting.runs import RunFolder
from hyperfitting.settings import Resolved
from hyperfitting.storage import (
    new_directory,
    only_writer,
    read_json,
    sweep_temporaries,
    write_json,
)
from hyperfitting.study.arms import Tokens
from hyperfitting.study.environment import environment
from hyperfitting.train.checkpoints import Checkpoints, TrainState
from hyperfitting.train.engine import TailEngine, window_losses
from hyperfitting.train.loop import Trainer, make_optimizer
from hyperfitting.train.lora import save_adapter
from hyperfitting.train.methods import METHODS, Trainable, prepare
from hyperfitting.train.monitor import Monitoring
from hyperfitting.train.setup import Setup, set_up, steps_per_epoch

USER_CACHE = Path("hyperfitting") / "prefix-cache"


def read_dataset(config: RunConfig, progress: Progress) -> Dataset:
    """Read, tokenise, cut and split the run's texts, and say what became of them.

    Raises:
        InputError: anything wrong with the source or the tokenizer.
    """
    tokenizer = load_tokenizer(config.model)
    with progress.stage("read texts") as stage:
        dataset = build_dataset(read_documents(config.data), tokenizer, config.data, stage)
        stage.update(1, describe_data(dataset, config))
    return dataset


def describe_data(dataset: Dataset, config: RunConfig) -> str:
    """One line: how many texts were read, dropped and used, and why."""
    account = dataset.account
    reasons = ["empty", "duplicate", "too_short"]
    reasons += ["nothing_to_train_on"] * bool(account["nothing_to_train_on"])
    dropped = [f"{account[reason]} {reason.replace('_', ' ')}" for reason in reasons]
    parts = [f"{account['read']} documents ({', '.join(dropped)})"]
    if sections := account.get("sections_of_the_only_document"):
        parts.append(f"one document, cut into {sections} sections: train and held-out share it")
    parts.append(
        f"training on {account['training_windows']} of "
        f"{account['training_windows_available']} windows of {config.data.window_tokens} tokens"
    )
    unused = account["training_windows_in_texts"] - account["training_windows_available"]
    if unused > 0:
        parts.append(f"the texts hold {unused:,} more (data.windows_per_document)")
    if truncated := account.get("training_windows_truncated"):
        parts.append(f"{truncated} cut short, without an end token")
    parts.append(f"{account['held_out']} documents held out")
    return ", ".join(parts)


def user_cache_folder() -> Path:
    """Where disk caches of lone runs are shared: `$XDG_CACHE_HOME`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / USER_CACHE


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
    folder = Path(config.train.prefix_cache.folder or cache_folder or user_cache_folder())
    tokenizer = load_tokenizer(config.model)
    model = load_model(config.model)
    _check_fit(model, dataset, config)
    digest = model_digest(model)
    tokens = Tokens.of(model, tokenizer)
    if precision == "bf16" and METHODS[config.train.method].trains == "adapters":
        halve_frozen_weights(model)
    trainable = prepare(model, config.train)
    accelerator = make_accelerator(device, precision, track=config.monitor.track, folder=run.path)
    setup = set_up(
        trainable,
        dataset.train,
        _first(dataset.heldout, config.monitor.num_windows),
        config.train,
        autocast=accelerator.autocast,
        device=device,
        model_digest=f"{digest} {precision}",
        cache_folder=folder,
        progress=progress,
    )
    manifest = _manifest(resolved, dataset, trainable, digest, precision, setup)
    with only_writer(run.path):
        sweep_temporaries(run.path)
        sweep_temporaries(run.checkpoints)
        if resume and run.manifest_file.exists():
            manifest = _same_run(read_json(run.manifest_file), manifest)
        write_json(run.manifest_file, manifest)
        save_dataset(run.windows_file, dataset)
        for note in setup.notes:
            progress.say(f"  {note}")
        trainer = _trainer(
            run, config, dataset, trainable, setup, accelerator, tokens, progress, manifest
        )
        if resume:
            _restore(run, trainer, progress)
        _train_and_save(run, trainer, setup, config, tokenizer, manifest, progress)


def _check_fit(model: Any, dataset: Dataset, config: RunConfig) -> None:
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
    manifest: Mapping[str, Any],
) -> Trainer:
    if config.monitor.track:
        accelerator.init_trackers("hyperfitting", config=_flat(manifest["config"]))
    monitor = _monitor(run, config, dataset, trainable, setup, accelerator, tokens, progress)
    about = {name: manifest[name] for name in ("model_digest", "train_digest", "arm", "seed")}
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
        Checkpoints(run.checkpoints, about),
    )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as trackers take them: one level, plain values."""
    return {f"{section}.{key}": str(v) for section, c in config.items() for key, v in c.items()}


def _monitor(
    run: RunFolder,
    config: RunConfig,
    dataset: Dataset,
    trainable: Trainable,
    setup: Setup,
    accelerator: Accelerator,
    tokens: Tokens,
    progress: Progress,
) -> Monitoring:
    engine = setup.engine
    whole: Callable[[], AbstractContextManager[None]] = nullcontext
    if isinstance(engine, TailEngine):
        whole = partial(whole_model, engine.parts, engine.tail.cut, released=engine.released)

    def write(row: MonitorRow) -> None:
        run.append_metrics(row)
        if config.monitor.track:
            values = {k: v for k, v in asdict(row).items() if isinstance(v, int | float)}
            accelerator.log(values, step=row.step)

    contexts = dataset.contexts.contexts[: config.monitor.num_contexts]
    watched = _Samples(contexts, tokens, progress)
    return Monitoring(
        trainable,
        engine,
        setup.heldout,
        config.train.batch_size,
        contexts,
        config.data.continuation_tokens,
        tokens.banned("fixed_length"),
        whole,
        write,
        watched.show if progress.is_watched else None,
    )


class _Samples:
    """Shows a person one continuation beside the original model's, as training goes on."""

    LENGTH = 160  # characters of each text

    def __init__(self, contexts: list[list[int]], tokens: Tokens, progress: Progress) -> None:
        self.contexts, self.tokens, self.progress = contexts, tokens, progress
        self.original: str | None = None

    def show(self, epoch: int, texts: list[Decoded]) -> None:
        """Print the first context's continuation now, under that of the original."""
        context, text = self.tokens.texts(self.contexts[0], texts[0].ids)
        now = " ".join(text.split())[: self.LENGTH]
        if epoch == 0 or self.original is None:
            self.original = now
            self.progress.say(f"  {' '.join(context.split())[-self.LENGTH :]} …")
            self.progress.say(f"  {'original' if epoch == 0 else f'epoch {epoch}'}: {now}")
        else:
            self.progress.say(f"  epoch {epoch}: {now}")


def _same_run(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the run to resume, after checking that it is this one.

    Raises:
        InputError: a setting, the model or the data changed; the message names it.
    """
    changed = changed_settings(before.get("config", {}), now["config"])
    for name in ("model_digest", "train_digest", "heldout_digest", "contexts_digest"):
        if before.get(name) != now[name]:
            changed.append(f"{name.removesuffix('_digest')} (its content)")
    if changed:
        raise InputError(
            f"the run to resume was started with other settings: {'; '.join(changed)}",
            needed="the settings it was started with",
            hint="--resume with --out alone takes them from the run",
        )
    return before | {"status": "training"}


def changed_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], path: str = ""
) -> list[str]:
    """Dotted names of settings that differ, each with both values."""
    changed = []
    for key in sorted({*before, *now}):
        name, old, new = f"{path}{key}", before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changed += changed_settings(old, new, f"{name}.")
        elif old != new and name != "model.trust_remote_code":
            changed.append(f"{name} was {old!r}, is {new!r}")
    return changed


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
    tokenizer: Any,
    manifest: dict[str, Any],
    progress: Progress,
) -> None:
    trainable = trainer.trainable
    steps = config.train.epochs * steps_per_epoch(config.train, len(setup.train))
    with progress.stage(f"train {manifest['arm']}", steps) as stage:
        trainer.stage = stage
        state = trainer.run()
        losses = window_losses(setup.engine, setup.train, config.train.batch_size)
        # Per predicted token, as the loss in training.
        final_loss = float(np.average(losses, weights=setup.train.labels_N))
        stage.update(state.step, _summary(state, final_loss, len(setup.train), trainable))
    _save_result(run, trainable, tokenizer, config)
    if config.monitor.track:
        trainer.accelerator.end_training()
    manifest["training"] = _outcome(state, final_loss)
    manifest["status"] = "complete"
    write_json(run.manifest_file, manifest)


def _summary(state: TrainState, loss: float, windows: int, trainable: Trainable) -> str:
    early = "" if state.stopped_by == "epochs" else f" (stopped by {state.stopped_by})"
    return (
        f"{windows} windows x {len(state.train_loss)} epochs{early}, final loss {loss:.3f}, "
        f"{trainable.count:,} trained parameters"
    )


def _manifest(
    resolved: Resolved[RunConfig],
    dataset: Dataset,
    trainable: Trainable,
    digest: str,
    precision: Precision,
    setup: Setup,
) -> dict[str, Any]:
    config = resolved.config
    content = config.model_dump(mode="json")
    if Path(config.model.name).is_dir():  # so that the run can be judged from anywhere
        content["model"]["name"] = str(Path(config.model.name).resolve())
    return {
        "version": 1,
        "status": "training",
        "arm": METHODS[config.train.method].arm,
        "seed": config.train.seed,
        "config": content,
        "config_sources": dict(resolved.sources),
        "model_digest": digest,
        "contexts_digest": dataset.contexts.digest(),
        "heldout_digest": dataset.heldout.digest(),
        "train_digest": dataset.train.digest(),
        "data_account": dataset.account,
        "trainable": {
            "count": trainable.count,
            "blocks_0_based": trainable.blocks,
            "blocks_1_based": trainable.blocks and [block + 1 for block in trainable.blocks],
            "names": trainable.names,
        },
        "precision": precision,
        "engine": setup.notes,
        "environment": environment(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _outcome(state: TrainState, final_loss: float) -> dict[str, Any]:
    return {
        "epochs": len(state.train_loss),
        "steps": state.step,
        "stopped_by": state.stopped_by,
        "train_loss": state.train_loss,
        "final_loss": final_loss,
        "best_ttr": state.best_ttr,
        "best_step": state.best_step,
        "seconds": round(state.seconds, 3),
        "monitor_seconds": round(state.monitor_seconds, 3),
    }


def _save_result(run: RunFolder, trainable: Trainable, tokenizer: Any, config: RunConfig) -> None:
    """The adapter or the model, complete or not at all."""
    target = run.adapter if trainable.has_adapter else run.model
    with new_directory(target) as folder:
        if trainable.has_adapter:
            save_adapter(trainable.model, trainable.initial, folder, config.train.lora)
            return
        with quiet_transformers():
            trainable.model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
