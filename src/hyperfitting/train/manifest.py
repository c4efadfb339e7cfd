"""What a RUN's manifest says, and whether a run to resume is the one that was started."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import EvaluateConfig, RunConfig
from hyperfitting.config.layers import leaf_fields
from hyperfitting.config.methods import METHODS
from hyperfitting.environment import environment
from hyperfitting.errors import InputError
from hyperfitting.measure.intervals import bootstrap_ratio
from hyperfitting.models.checkpoint import origin_of
from hyperfitting.models.tokenizers import tokenizer_digest
from hyperfitting.models.types import CausalLM
from hyperfitting.records.manifest import LossInterval, RunManifest, Trained, TrainingOutcome
from hyperfitting.records.origins import Origin
from hyperfitting.train.checkpoints import TrainState
from hyperfitting.train.parts import RunParts
from hyperfitting.train.setup import Setup

DIGESTS = ("model_digest", "architecture_digest", "tokenizer_digest", "train_digest",
           "heldout_digest", "contexts_digest")  # fmt: skip


SETTINGS = dict(leaf_fields(RunConfig))


def new_manifest(parts: RunParts, setup: Setup, sources: Mapping[str, str]) -> RunManifest:
    """The manifest of a run that starts now; `sources` say where each setting comes from."""
    config, dataset, trainable = parts.config, parts.dataset, parts.trainable
    content = config.model_dump(mode="json")
    if Path(config.model.name).exists():  # so that the run can be judged from anywhere
        content["model"]["name"] = str(Path(config.model.name).resolve())
    return RunManifest(
        status="training",
        arm=METHODS[config.train.method].arm,
        seed=config.train.seed,
        config=content,
        config_sources=dict(sources),
        model_digest=parts.model_digest,
        architecture_digest=parts.architecture_digest,
        base_settings=parts.base_settings,
        origin=_origin(trainable.model, parts.model_digest),
        contexts_digest=dataset.contexts.digest(),
        heldout_digest=dataset.heldout.digest(),
        train_digest=dataset.train.digest(),
        data_account=dataset.account,
        template_date=dataset.template_date,
        ends=parts.tokens.listed_ends(),
        trainable=Trained(
            count=trainable.count,
            blocks_0_based=trainable.blocks,
            blocks_1_based=trainable.blocks and [block + 1 for block in trainable.blocks],
            names=trainable.names,
        ),
        learning_rate=trainable.learning_rate,
        precision=parts.precision,
        device=setup.train.device.type,
        engine=setup.notes,
        environment=environment(),
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        tokenizer_digest=tokenizer_digest(parts.tokens.tokenizer),
    )


def _origin(model: CausalLM, digest: str) -> Origin | None:
    """Where the base came from; None where it was made in memory."""
    origin = origin_of(model)
    return origin.with_digest(digest) if origin else None


def loss_interval(losses_N: NDArray[np.float64], labels_N: NDArray[np.int64]) -> LossInterval:
    """The interval of a mean loss per predicted token over the N training windows.

    How much other windows of the kind would change it; not another training. Null for one window.
    """
    level, draws = EvaluateConfig().confidence, EvaluateConfig().resamples
    weights_N = np.asarray(labels_N, dtype=float)
    found = bootstrap_ratio(
        np.asarray(losses_N, dtype=float) * weights_N, weights_N,
        resamples=draws, confidence=level, seed=0,
    )  # fmt: skip
    return LossInterval(low=found.low, high=found.high, n=len(weights_N), confidence=level)


def training_outcome(
    state: TrainState,
    final_loss: float,
    prefix_seconds: float,
    interval: LossInterval | None = None,
    peak_bytes: int | None = None,
) -> TrainingOutcome:
    """What training did, of a state that came to its end."""
    return TrainingOutcome(
        epochs=len(state.train_loss),
        steps=state.step,
        stopped_by=state.stopped_by,
        train_loss=state.train_loss,
        final_loss=final_loss,
        best_ttr=state.best_ttr,
        best_step=state.best_step,
        best_val_loss=state.best_val_loss,
        best_val_step=state.best_val_step,
        best_val_epoch=_epoch_of(state, state.best_val_step),
        kept_at_loss=state.kept_at_loss,
        seconds=round(state.seconds, 3),
        prefix_seconds=round(prefix_seconds, 3),
        monitor_seconds=round(state.monitor_seconds, 3),
        final_loss_interval=interval,
        peak_bytes=peak_bytes,
    )


def _epoch_of(state: TrainState, step: int | None) -> int | None:
    """The epoch that was monitored after `step`."""
    return next((row.epoch for row in state.rows if row.step == step), None)


def checkpoint_about(manifest: RunManifest) -> dict[str, str | int]:
    """What the checkpoints of a run are sealed with; those of anything else are refused."""
    return {n: getattr(manifest, n) for n in ("model_digest", "train_digest", "arm", "seed")}


def same_run(before: RunManifest, now: RunManifest) -> RunManifest:
    """The manifest of the run to resume, after checking that it is this one.

    Raises:
        InputError: a setting, the model or the data changed; the message names it.
    """
    changed = changed_settings(before.config, now.config)
    for name in ("precision", "device"):
        was, is_now = getattr(before, name), getattr(now, name)
        if was != is_now:
            changed.append(f"{name} was {was}, is {is_now}")
    if changed:
        raise InputError(
            f"the run to resume was started with other settings: {'; '.join(changed)}",
            needed="the settings it was started with",
            hint="--resume with --out alone takes them from the run",
        )
    # Versions before did not take every digest.
    read_anew = [n for n in DIGESTS if getattr(before, n) not in (None, getattr(now, n))]
    names = [name.removesuffix("_digest") for name in read_anew]
    if names:
        if names[0] in ("model", "architecture", "tokenizer"):
            what, where = "the model as it was", "the model"
        else:
            what, where = "the texts as they were", str(before.config["data"]["source"])
        raise InputError(
            "what the run to resume reads has changed since it was started: "
            f"{', '.join(names)} (its content)",
            needed=what,
            hint=f"restore {where}, or train anew into another --out",
        )
    return before.model_copy(update={"status": "training", "files": {}})


def changed_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], path: str = ""
) -> list[str]:
    """Dotted names of settings that differ, each with both values.

    One that an earlier version did not know had its default.
    """
    changed = []
    for key in sorted({*before, *now}):
        name, old, new = f"{path}{key}", before.get(key), now.get(key)
        if key not in before and name in SETTINGS:
            old = SETTINGS[name].get_default()
            old = list(old) if isinstance(old, tuple) else old
        if isinstance(old, dict) and isinstance(new, dict):
            changed += changed_settings(old, new, f"{name}.")
        elif old != new and name != "model.trust_remote_code":
            changed.append(f"{name} was {old!r}, is {new!r}")
    return changed
