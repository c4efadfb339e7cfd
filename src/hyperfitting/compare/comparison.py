"""What is compared: an original model and tuned ones, on one held-out set."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hyperfitting.config import ModelConfig
from hyperfitting.data.store import load_dataset
from hyperfitting.data.windows import Dataset
from hyperfitting.models.load import load_model, require_base
from hyperfitting.records import Arm
from hyperfitting.records.origins import KnownBase, Origin
from hyperfitting.records.study import TrainingFacts, TunedEntry
from hyperfitting.runs import RunFolder


class Here(NamedTuple):
    """Where models run, and whether their code does: given anew, never read from a folder.

    A run folder may come from another machine and from somebody else.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    trust_remote_code: bool = False

    def put(self, model: ModelConfig) -> ModelConfig:
        """The same model, here."""
        return model.model_copy(update=self._asdict())


@dataclass(frozen=True)
class TunedModel:
    """A tuned model: which arm it is, how to load it, and how it came about."""

    arm: Arm
    load: Callable[[], Any]
    facts: TrainingFacts
    path: Path | None = None  # of its run

    def training_rows(self) -> list[list[int]] | None:
        """The tokens of its training windows; None for a checkpoint that is no run of ours."""
        if self.path is None:
            return None
        return load_dataset(RunFolder(self.path).windows_file).train.rows()

    def listed(
        self, study: Path, origin: Origin | None = None, digest: str | None = None
    ) -> TunedEntry:
        """The entry of `study.json`, with where the model was loaded from and its digest.

        Paths of runs are seen from the study, so that both can move.
        """
        path = None if self.path is None else _seen_from(study, self.path)
        if origin and self.facts.checkpoint is None:
            origin = origin.model_copy(update={"name": _seen_from(study, Path(origin.name))})
        return TunedEntry(arm=self.arm, path=path, origin=origin, digest=digest, **dict(self.facts))


def _seen_from(study: Path, path: Path) -> str:
    return Path(os.path.relpath(path.resolve(), study.resolve())).as_posix()


@dataclass(frozen=True)
class Comparison:
    """One base model, one held-out set, and the models tuned from it."""

    model: ModelConfig
    known: KnownBase | None  # of the base model, where runs tell it
    tuned: list[TunedModel]
    dataset: Dataset
    data: dict[str, Any]

    @property
    def digest(self) -> str | None:
        """Of the base model's weights, where runs tell it."""
        return self.known.digest if self.known else None

    @property
    def domain(self) -> str:
        """The data source's name."""
        return str(self.data["source"])

    @property
    def largest_id(self) -> int:
        """The largest token id of the held-out texts."""
        rows = (*self.dataset.contexts.contexts, *self.dataset.contexts.continuations)
        return max(int(self.dataset.heldout.ids_NT.max()), *(i for row in rows for i in row))

    def load_original(self) -> Any:
        """The base model.

        Raises:
            InputError: its weights are not those the runs were trained from.
        """
        model = load_model(self.model)
        if self.known is not None:
            require_base(model, self.known, self.model)
        return model
