"""Train one run and write its RUN folder."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from hyperfitting.config import RunConfig
from hyperfitting.data.sources import read_documents
from hyperfitting.data.store import save_dataset
from hyperfitting.data.windows import Dataset, build_dataset
from hyperfitting.models.forward import window_losses
from hyperfitting.models.load import (
    check_fit,
    load_model,
    load_tokenizer,
    model_digest,
    quiet_transformers,
)
from hyperfitting.progress import Progress
from hyperfitting.runs import RunFolder, new_directory, write_json
from hyperfitting.settings import Resolved
from hyperfitting.study.arms import Tokens
from hyperfitting.study.environment import environment
from hyperfitting.train.loop import TrainResult, train
from hyperfitting.train.methods import METHODS, Trainable, prepare
from hyperfitting.train.monitor import make_monitor


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


def train_run(
    run: RunFolder, resolved: Resolved[RunConfig], dataset: Dataset, progress: Progress
) -> None:
    """Train as the config says and leave a complete RUN folder.

    Everything is checked before the folder exists; the manifest says `complete` last.

    Raises:
        InputError: the model cannot be loaded or does not fit the data, or training diverges.
    """
    config = resolved.config
    tokenizer = load_tokenizer(config.model)
    model = load_model(config.model)
    check_fit(
        model,
        max(int(dataset.train.ids_NT.max()), int(dataset.heldout.ids_NT.max())),
        max(
            config.data.window_tokens,
            max(map(len, dataset.contexts.contexts)) + config.data.continuation_tokens,
        ),
        config.model.name,
    )
    digest = model_digest(model)
    tokens = Tokens.of(model, tokenizer)
    trainable = prepare(model, config.train)
    run.path.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(resolved, dataset, trainable, digest)
    write_json(run.manifest_file, manifest)
    save_dataset(run.windows_file, dataset)
    monitor = make_monitor(
        trainable.model,
        dataset,
        config.data,
        config.monitor,
        banned=tokens.banned("fixed_length"),
        write=run.append_metrics,
    )
    steps = config.train.epochs * -(-len(dataset.train) // config.train.batch_size)
    with progress.stage(f"train {manifest['arm']}", steps) as stage:
        result = train(
            trainable,
            dataset.train,
            config.train,
            monitor=monitor,
            every_epochs=config.monitor.every_epochs,
            stage=stage,
        )
        losses = window_losses(trainable.model, dataset.train.ids_NT, dataset.train.label_NT)
        weights = dataset.train.label_NT.sum(axis=1)  # per predicted token, as the loss in training
        final_loss = float(np.average(losses, weights=weights))
        stage.update(result.steps, _summary(result, final_loss, len(dataset.train), trainable))
    _save_result(run, trainable, tokenizer)
    manifest["training"] = _outcome(result, final_loss)
    manifest["status"] = "complete"
    write_json(run.manifest_file, manifest)


def _summary(result: TrainResult, loss: float, windows: int, trainable: Trainable) -> str:
    early = "" if result.stopped_by == "epochs" else f" (stopped by {result.stopped_by})"
    return (
        f"{windows} windows x {result.epochs} epochs{early}, final loss {loss:.3f}, "
        f"{trainable.count:,} trained parameters"
    )


def _manifest(
    resolved: Resolved[RunConfig], dataset: Dataset, trainable: Trainable, digest: str
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
        "environment": environment(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _outcome(result: TrainResult, final_loss: float) -> dict[str, Any]:
    return {
        "epochs": result.epochs,
        "steps": result.steps,
        "stopped_by": result.stopped_by,
        "train_loss": result.train_loss,
        "final_loss": final_loss,
        "seconds": round(result.seconds, 3),
        "monitor_seconds": round(result.monitor_seconds, 3),
    }


def _save_result(run: RunFolder, trainable: Trainable, tokenizer: Any) -> None:
    """The adapter or the model, complete or not at all."""
    target = run.model if trainable.blocks is None else run.adapter
    with quiet_transformers(), new_directory(target) as folder:
        trainable.model.save_pretrained(folder, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's form, not filled in
        if trainable.blocks is None:
            tokenizer.save_pretrained(folder)
