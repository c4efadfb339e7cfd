"""What `export.json` says: what was written from which run, and what was found when it was read."""

from pydantic import Field

from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.origins import Environment, TextEnd
from hyperfitting.records.record import FileRecord, PathInside, Record


class BaseModelNamed(Record):
    """The base model: how others call it, and what identifies it here."""

    name: str
    revision: str | None
    digest: str


class TokensCheck(Record):
    """Whether texts, a chat and their ends are the same tokens; the first difference in words."""

    texts: int
    difference: str | None
    template: str | None  # the difference between the chat templates
    has_template: bool
    ends_before: list[TextEnd]
    ends_after: list[TextEnd]


class WeightsCheck(Record):
    """Tensors against the run's merged in float32 and cast once, as the file holds them."""

    tensors: int
    equal: int  # bit for bit
    missing: list[str]  # that the run has and the file has not
    largest_difference: float  # of a tensor, in the length of that tensor
    largest_in: str | None  # which


class LogitsCheck(Record):
    """Both models on the run's own greedy texts."""

    positions: int
    largest_difference: float
    top1: MeanEstimate  # share of positions at which both choose the same token


class Written(Record):
    """What the greedy texts of a model are like, over contexts."""

    ttr: MeanEstimate
    bigram_repetition: MeanEstimate
    looped: MeanEstimate
    ended: MeanEstimate | None  # of those that may end; None where none were written


class Change(Record):
    """A paired difference over contexts, export - run, with its interval."""

    ttr: MeanEstimate
    ended: MeanEstimate | None


class TextsCheck(Record):
    """Greedy texts of both models after the same contexts."""

    contexts: int
    equal: int  # texts that are the same to the last token
    near_ties: int = 0  # others that part where the run's two best logits are all but equal
    equal_tokens: MeanEstimate  # share of a text's tokens
    run: Written
    export: Written
    change: Change


class Verification(Record):
    """What was found when the export was read back; `refused` says why it is not verified."""

    tokens: TokensCheck
    weights: WeightsCheck
    logits: LogitsCheck
    texts: TextsCheck
    is_exact: bool  # float32: every token has to be the same
    settings: list[str] = Field(default_factory=list)  # by which other programs decode otherwise
    notes: list[str] = Field(default_factory=list)
    refused: list[str]

    @property
    def is_verified(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.refused


class OwnText(Record):
    """One greedy text of a run, and steps at which several tokens shared the largest logit."""

    ids: list[int]
    num_ties: int


class OwnTexts(FileRecord):
    """What a run writes after its held-out contexts, which every export of it is held against."""

    fixed: list[OwnText]  # of a fixed length
    natural: list[OwnText]  # that may end themselves
    seconds: float  # that those of the fixed length took


class ExportFile(FileRecord):
    """`export.json`. Nothing is verified where `unread` says why."""

    format: str
    run: str  # the name of its folder; `run_digest` tells it for certain
    run_digest: str  # of its manifest
    arm: str
    seed: int
    strength: float
    dtype: str  # of the weights
    base: BaseModelNamed
    licence: str | None
    notes: list[str] = Field(default_factory=list)
    commands: list[str] = Field(default_factory=list)  # left to the user, in this folder
    files: dict[PathInside, str]  # their digests
    verification: Verification | None
    environment: Environment

    @property
    def unread(self) -> str | None:
        """Why nothing is verified, in words; None where it was read back."""
        if self.verification is not None:
            return None
        return "still to be converted" if self.commands else "it could not be read back here"
