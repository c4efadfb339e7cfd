"""Checkpoints of a training run: sealed folders of safetensors and JSON, never a pickle.

A checkpoint holds the trained tensors, AdamW's moments and `TrainState`. The order of the data is
a function of (seed, epoch) and dropout is off, so nothing else is needed to go on bit for bit.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyperfitting.errors import InputError
from hyperfitting.foreign import require_regular
from hyperfitting.progress import Progress
from hyperfitting.records import MonitorRow
from hyperfitting.records.manifest import KeptAtLoss
from hyperfitting.records.record import FieldError, read
from hyperfitting.seals import DamagedError, open_sealed, sealed_folder
from hyperfitting.storage import read_json, write_json

KEEP_NEWEST = 2
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
# To the state since the first version; empty and 0 in what earlier ones wrote.
ADDED = {"kept_at_loss", "epochs_known"}
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class TrainState:
    """How far training is, after whole steps."""

    step: int = 0  # steps done
    epoch: int = 1  # the epoch under way, 1-based
    step_in_epoch: int = 0  # steps done of it
    step_losses: list[float] = field(default_factory=list)  # of this epoch, nats per token
    step_tokens: list[int] = field(default_factory=list)  # labelled tokens of those steps
    train_loss: list[float] = field(default_factory=list)  # mean of each whole epoch
    rows: list[MonitorRow] = field(default_factory=list)
    best_ttr: float | None = None
    best_step: int | None = None  # at which the TTR was the best so far
    best_val_loss: float | None = None  # nats per token
    best_val_step: int | None = None
    kept_at_loss: list[KeptAtLoss] = field(default_factory=list)  # by target, as reached
    epochs_known: int = 0  # in a row, up to the last one, after which the texts were known by heart
    stopped_by: str | None = None  # set when training is over
    seconds: float = 0.0  # of steps
    monitor_seconds: float = 0.0


class Checkpoints:
    """The folder `checkpoints/` of a run."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.about = dict(about)  # what the run is of; a checkpoint of anything else is refused

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def steps(self) -> list[int]:
        """Steps with a checkpoint, oldest first."""
        names = [p.name.removeprefix("step-") for p in self.folder.glob("step-*")]
        return sorted(int(name) for name in names if name.isdecimal())

    def save(
        self, state: TrainState, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
    ) -> Path:
        """Write a checkpoint and delete those no longer kept.

        The newest two stay, the one with the best TTR, the one with the best validation loss, and
        those at a training loss that was asked for.
        """
        moments = {
            f"{name}/{moment}": optimizer.state[tensor][moment].detach().cpu().contiguous()
            for name, tensor in tensors.items()
            if tensor in optimizer.state
            for moment in MOMENTS
        }
        weights = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        about = self.about | {"step": state.step}
        with sealed_folder(self._path(state.step), about) as folder:
            save_file(weights, folder / WEIGHTS)
            save_file(moments, folder / OPTIMIZER)
            write_json(folder / STATE, asdict(state))
        kept = {state.best_step, state.best_val_step, *(each.step for each in state.kept_at_loss)}
        for step in self.steps()[:-KEEP_NEWEST]:
            if step not in kept:
                shutil.rmtree(self._path(step))
        return self._path(state.step)

    def newest(self, progress: Progress) -> int | None:
        """Step of the newest checkpoint whose files are whole, or None where there is none.

        Damaged ones that are newer are removed: they must not count among those kept.

        Raises:
            InputError: there are checkpoints, and every one of them is damaged.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                about = open_sealed(self._path(step))
                if about != self.about | {"step": step}:
                    raise DamagedError(f"{self._path(step)} belongs to another run")
                for newer in self.steps():
                    if newer > step:
                        shutil.rmtree(self._path(newer))
                return step
            except DamagedError as error:
                damaged.append(str(error))
                progress.say(f"{error}; looking for an older checkpoint")
        if damaged:
            raise InputError(
                f"no checkpoint in {self.folder} is whole: {damaged[0]}",
                needed="one undamaged checkpoint",
                hint="train again into a new folder",
            )
        return None

    def require(self, step: int) -> Path:
        """The folder of a step's checkpoint, every file of which is as it was written.

        Raises:
            InputError: there is no such checkpoint, it is damaged, or it is of another run.
        """
        if step not in self.steps():
            kept = ", ".join(map(str, self.steps())) or "none"
            raise InputError(
                f"{self.folder} holds no checkpoint of step {step}",
                needed=f"a step whose checkpoint was kept: {kept}",
            )
        if open_sealed(self._path(step)) != self.about | {"step": step}:
            raise DamagedError(f"{self._path(step)} belongs to another run")
        return self._path(step)

    def weights(self, step: int) -> dict[str, Tensor]:
        """The trained tensors at `step`, by full name, in CPU memory.

        Raises:
            InputError: as of `require`.
        """
        return _tensors(self.require(step) / WEIGHTS)

    def load(
        self, step: int, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
    ) -> TrainState:
        """Mutates tensors and optimizer to what they were at `step`."""
        folder = self._path(step)
        weights, moments = _tensors(folder / WEIGHTS), _tensors(folder / OPTIMIZER)
        content = read_json(folder / STATE)
        known = {f.name for f in fields(TrainState)}
        other = InputError(
            f"{folder} was written by another version of hyperfitting",
            needed="a checkpoint of this version",
            hint="train again into a new folder",
        )
        if set(weights) != set(tensors) or set(content) | ADDED != known:
            raise other
        try:
            state = read(TrainState, content)
        except FieldError as error:
            raise other from error
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(weights[name])
        saved = optimizer.state_dict()
        saved["state"] = {
            number: {moment: moments[f"{name}/{moment}"] for moment in MOMENTS}
            for number, name in enumerate(tensors)
            if f"{name}/step" in moments
        }
        optimizer.load_state_dict(saved)
        return state


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file.

    Raises:
        DamagedError: it is missing, or holds anything else.
    """
    try:
        return load_file(require_regular(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
