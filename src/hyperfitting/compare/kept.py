"""Checkpoints that a run kept beside its result, each as an arm of its own."""

from dataclasses import dataclass
from functools import partial

from hyperfitting.compare.comparison import TunedModel
from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.manifest import RunManifest
from hyperfitting.records.study import TrainingFacts
from hyperfitting.runs import RunFolder
from hyperfitting.train.result import load_checkpoint_result, require_checkpoint

# Of the whole training, and so not of what it was on its way.
NOT_A_CHECKPOINTS = (
    "final_loss", "final_loss_interval", "train_seconds", "peak_bytes", "train_loss",
)  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """Which checkpoints of every run are arms beside its result."""

    best_val: bool = False  # that of lowest validation loss
    at_loss: tuple[float, ...] = ()  # those at these training losses

    def arms(
        self, run: RunFolder, manifest: RunManifest, arm: Arm, model: ModelConfig,
        progress: Progress,
    ) -> list[TunedModel]:  # fmt: skip
        """These checkpoints of a run whose result is `arm`.

        A training loss that the run was to keep and did not reach is said, and has no arm.

        Raises:
            InputError: the run was not to keep such a checkpoint, or it is gone or damaged.
        """
        found = [_best_val(run, manifest, arm, model)] if self.best_val else []
        for loss in self.at_loss:
            kept = _at_loss(run, manifest, arm, model, loss)
            if kept is None:
                progress.say(f"  {run.path} {_not_reached(manifest, loss)}: no arm of it there")
            else:
                found.append(kept)
        return found


NOTHING = Kept()


def _best_val(run: RunFolder, manifest: RunManifest, arm: Arm, model: ModelConfig) -> TunedModel:
    """The run's checkpoint of lowest validation loss as an arm of its own.

    Raises:
        InputError: the run was not monitored, so there is none, or it is gone or damaged.
    """
    step = manifest.outcome.best_val_step
    if step is None:
        raise InputError(
            f"{run.path} has no checkpoint of lowest validation loss",
            needed="a run with monitoring (monitor.every_epochs above 0)",
        )
    require_checkpoint(run, step, hint="leave best_val off, or train again")
    epoch = manifest.outcome.best_val_epoch
    none = dict.fromkeys(NOT_A_CHECKPOINTS)
    facts = TrainingFacts.of(manifest).model_copy(
        update={"epochs": epoch, "stopped_by": "best_val_loss", **none}
    )
    load = partial(load_checkpoint_result, run, model, step)
    return TunedModel(arm.best_val(), load, facts)


def _at_loss(
    run: RunFolder, manifest: RunManifest, arm: Arm, model: ModelConfig, loss: float
) -> TunedModel | None:
    """The run's checkpoint at a training loss as an arm; None where the run did not reach it.

    Raises:
        InputError: the run was not to keep it, or it is gone or damaged.
    """
    kept = next((each for each in manifest.outcome.kept_at_loss if each.target == loss), None)
    asked = manifest.settings.train.keep_at_loss
    if kept is None and loss in asked:
        return None
    if kept is None:
        listed = ", ".join(map(str, asked)) or "none"
        raise InputError(
            f"{run.path} kept no checkpoint at a training loss of {loss}",
            needed=f"at_loss among those that it was trained to keep: {listed}",
            hint=f"train again and keep it: train.keep_at_loss={[loss]}",
        )
    require_checkpoint(run, kept.step, hint="leave at_loss off, or train again")
    none = dict.fromkeys(NOT_A_CHECKPOINTS)
    own = {"epochs": kept.epoch, "epoch_loss": kept.loss, "stopped_by": "at_loss"}
    facts = TrainingFacts.of(manifest).model_copy(update=own | none)
    return TunedModel(
        arm.kept_at(loss), partial(load_checkpoint_result, run, model, kept.step), facts
    )


def _not_reached(manifest: RunManifest, loss: float) -> str:
    """How far a run came that did not reach a training loss."""
    lowest = min(manifest.outcome.train_loss, default=None)
    came = "" if lowest is None else f", its lowest was {lowest:.3f}"
    return f"did not reach a training loss of {loss}{came}"
