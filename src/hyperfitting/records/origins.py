"""What a number comes from besides its settings: a checkpoint, the ends of texts, a machine."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field

from hyperfitting.records.record import Record


class Origin(Record):
    """Where a loaded model or adapter came from.

    `revision` is what was asked for, `commit` what the hub made of it (None for a folder).
    `notes` say what of the checkpoint was not used, or is other than its files say.
    """

    name: str
    kind: Literal["model", "adapter"]
    revision: str | None = None
    commit: str | None = None
    quantization: str | None = None
    digest: str | None = None  # of an adapter's files; that of whole weights costs a pass
    file_digest: str | None = None  # of a GGUF file
    notes: list[str] = Field(default_factory=list)

    def with_notes(self, *notes: str) -> "Origin":
        """The same with further notes."""
        return self.model_copy(update={"notes": [*self.notes, *notes]})

    def with_digest(self, digest: str) -> "Origin":
        """The same, its weights identified."""
        return self.model_copy(update={"digest": digest})


class TextEnd(Record):
    """A token that ends a text, and why."""

    id: int
    token: str
    why: list[str]


class DecodingFacts(Record):
    """How a model is fed while it writes, and what that costs; the note is for a person."""

    cache: str  # ours, the model's, or none
    position_ids: bool
    together: str  # which rows run as one batch
    note: str | None


class KnownBase(NamedTuple):
    """What a run knows of the model that it was trained from, to tell it from any other.

    `settings` are those of its config; None where an earlier version trained.
    """

    digest: str  # of its weights
    settings: Mapping[str, Any] | None


class Environment(Record):
    """Versions and facts of a machine that a number may depend on."""

    python: str
    platform: str
    threads: int
    packages: dict[str, str]
