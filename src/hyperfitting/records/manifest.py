"""What `manifest.json` of a RUN says: all that it was trained with, and what training did."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from pydantic import Field, model_validator

from hyperfitting.config import ModelConfig
from hyperfitting.records.measured import Row
from hyperfitting.records.origins import Environment, KnownBase, Origin, TextEnd
from hyperfitting.records.record import FieldError, FileRecord, Name, PathInside, Record, read

WINDOWS = "training_windows"  # in `data_account`


class Trained(Record):
    """What of the model was trained; no blocks where everything was."""

    count: int  # scalars
    blocks_0_based: list[int] | None
    blocks_1_based: list[int] | None
    names: list[str]  # of parameters


class LossInterval(Record):
    """The interval of a final loss over the n training windows; None for one window."""

    low: float | None
    high: float | None
    n: int
    confidence: float


@dataclass(frozen=True, kw_only=True)
class KeptAtLoss(Row):
    """The checkpoint after the first epoch whose mean training loss is at or below `target`."""

    target: float
    step: int
    epoch: int
    loss: float  # the mean of that epoch, nats per token


class TrainingOutcome(Record):
    """What training did; times are in seconds, without monitoring and with it apart.

    Losses are in nats per token. What monitoring found best is None where there was none; a
    target that was not reached is not among those kept.
    """

    epochs: int
    steps: int
    stopped_by: str | None
    train_loss: list[float]  # of each epoch
    final_loss: float
    best_ttr: float | None
    best_step: int | None
    best_val_loss: float | None = None
    best_val_step: int | None = None
    best_val_epoch: int | None = None
    kept_at_loss: list[KeptAtLoss] = Field(default_factory=list)
    seconds: float
    prefix_seconds: float
    monitor_seconds: float
    final_loss_interval: LossInterval | None = None
    peak_bytes: int | None = None  # of the process, or on the GPU, up to the end of training


class TextSettings(Record):
    """What of a run's `config.DataConfig` is read again when it is compared."""

    source: str
    text_field: str | None = None
    windows: str
    window_tokens: int
    context_tokens: int
    continuation_tokens: int
    split_seed: int
    null: str = "none"
    loss_on: str = "all"
    csv_header: bool = True


class LoraSettings(Record):
    """What of a run's `config.LoraConfig` is read again with its checkpoints."""

    init: str = "default"


class TrainSettings(Record):
    """What of a run's `config.TrainConfig` is read again."""

    method: str
    lora: LoraSettings = LoraSettings()
    keep_at_loss: list[float] = Field(default_factory=list)


class RunSettings(Record):
    """What of a run's settings later stages read; its version may have known others besides."""

    model: ModelConfig
    data: TextSettings
    train: TrainSettings


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


class RunManifest(FileRecord):
    """`manifest.json`; fields that have a default were not written by earlier versions."""

    status: Literal["training", "complete"]
    arm: Name
    seed: int
    config: dict[str, Any]  # a RunConfig of the version that trained
    config_sources: dict[str, str]  # where each setting came from
    model_digest: str
    architecture_digest: str | None = None
    base_settings: dict[str, Any] | None = None  # of the base's config, that it computes by
    origin: Origin | None = None  # None also of a model that was made in memory
    contexts_digest: str
    heldout_digest: str
    train_digest: str
    data_account: dict[str, int]
    template_date: str | None = None
    ends: list[TextEnd] = Field(default_factory=list)
    trainable: Trained
    learning_rate: float | None = None  # after warm-up
    precision: str
    device: str | None = None
    engine: list[str]
    environment: Environment
    started: str
    tokenizer_digest: str | None = None
    files: dict[PathInside, str] = Field(default_factory=dict)  # their digests
    training: TrainingOutcome | None = None  # None until it is complete

    @model_validator(mode="after")
    def _complete(self) -> "RunManifest":
        """What later stages read is there: they need not look, and the file is named once."""
        read(RunSettings, self.config, "config")
        if self.template_date is not None and not _is_day(self.template_date):
            raise FieldError(f"template_date is {self.template_date!r}, a day is needed")
        if self.status == "complete" and self.training is None:
            raise FieldError("training is missing")
        if self.status == "complete" and WINDOWS not in self.data_account:
            raise FieldError(f"data_account.{WINDOWS} is missing")
        return self

    @property
    def settings(self) -> RunSettings:
        """The settings that later stages read."""
        return read(RunSettings, self.config, "config")

    @property
    def known_base(self) -> KnownBase:
        """What tells the base of this run from another model."""
        return KnownBase(self.model_digest, self.base_settings)

    @property
    def num_train(self) -> int:
        """Training windows of a run that is complete."""
        return self.data_account[WINDOWS]

    @property
    def outcome(self) -> TrainingOutcome:
        """What training did.

        Raises:
            ValueError: the run did not finish.
        """
        if self.training is None:
            raise ValueError("a run that did not finish has no outcome")
        return self.training

    def base_model(self) -> ModelConfig:
        """The base model: of a hub id the commit that was trained from, not a branch."""
        model = self.settings.model
        commit = self.origin and self.origin.commit
        return model.model_copy(update={"revision": commit}) if commit else model
