"""What an evaluated study keeps: `study.json`, `measurements.json` and `timings.json`."""

from typing import Any

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
)

from hyperfitting.records.arms import Arm
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.manifest import LossInterval, RunManifest
from hyperfitting.records.matching import Matching
from hyperfitting.records.measured import Measurement, Mode, PairedTest
from hyperfitting.records.origins import DecodingFacts, Environment, Origin, TextEnd
from hyperfitting.records.record import (
    ArmField,
    FileRecord,
    Name,
    OfArm,
    PathInside,
    Record,
    RelativePath,
)


class _Open(Record):
    """A mapping of which the page reads a few fields, and whose others are kept."""

    model_config = ConfigDict(extra="allow")


class Account(_Open):
    """What became of the documents that were read; further counts by their names."""

    read: int
    empty: int
    duplicate: int
    too_short: int
    nothing_to_train_on: int
    held_out: int
    training_windows_available: int


class Data(_Open):
    """Which texts a study is about: the settings of `config.DataConfig` and what came of them."""

    source: str
    windows: str
    context_tokens: int
    continuation_tokens: int
    contexts_digest: str
    template_date: str | None = None
    account: Account


class EvaluateSettings(_Open):
    """The settings of `config.EvaluateConfig` that numbers are printed with."""

    natural_tokens: int
    sampling_seeds: int
    resamples: int
    confidence: float
    coherence_model: str | None = None


class StudiedModel(_Open):
    """The original: its settings of `config.ModelConfig`, digest and origin."""

    name: str
    digest: str | None = None
    origin: Origin | None = None  # studies of older versions have none


class TrainingFacts(Record):
    """How a tuned model came about; what is not known of a foreign checkpoint is None."""

    method: str | None = None
    blocks_0_based: list[int] | None = None
    final_loss: float | None = None
    final_loss_interval: LossInterval | None = None  # since it is taken
    epochs: int | None = None
    epoch_loss: float | None = None  # of a checkpoint kept at a loss: the mean of its last epoch
    trainable_params: int | None = None
    num_train: int | None = None
    windows: str | None = None  # `data.windows` of its training
    stopped_by: str | None = None
    train_seconds: float | None = None
    peak_bytes: int | None = None
    train_loss: list[float] | None = None  # of every epoch, nats per token
    checkpoint: str | None = None  # of one that is no run of ours

    @classmethod
    def of(cls, manifest: RunManifest) -> "TrainingFacts":
        """How the result of a run came about."""
        training = manifest.outcome
        return cls(
            method=manifest.settings.train.method,
            blocks_0_based=manifest.trainable.blocks_0_based,
            final_loss=training.final_loss,
            final_loss_interval=training.final_loss_interval,
            epochs=training.epochs,
            trainable_params=manifest.trainable.count,
            num_train=manifest.num_train,
            windows=manifest.settings.data.windows,
            stopped_by=training.stopped_by,
            train_seconds=training.seconds + training.prefix_seconds,
            peak_bytes=training.peak_bytes,
            train_loss=training.train_loss,
        )


class TunedEntry(TrainingFacts, OfArm):
    """A tuned model of the study; the path of its run is seen from the study's folder."""

    path: RelativePath | None
    origin: Origin | None = None
    digest: str | None = None  # of all that the model computes with, as controls state it

    def is_of(self, manifest: RunManifest) -> bool:
        """Whether this entry speaks of the training that a run's manifest describes.

        What an older version did not note of it tells nothing.
        """
        if manifest.status != "complete":
            return False
        facts, noted = TrainingFacts.of(manifest).model_dump(), self.model_dump()
        return all(noted[key] in (None, value) for key, value in facts.items())


class MauveArm(OfArm):
    """How MAUVE of one arm was taken."""

    n: int
    buckets: int | None
    dimensions: int | None
    per_seed: list[list[float]]
    spread: float | None
    small_sample: bool
    reason: str | None


class MauveSettings(Record):
    """What MAUVE has to be printed with (definitions, section 2.7)."""

    features: str
    position: str
    token_limit: int
    texts_cut: int
    scaling: float
    kmeans_seeds: int
    arms: list[MauveArm]

    @property
    def human(self) -> MauveArm | None:
        """One half of the human texts against the other."""
        return next((each for each in self.arms if each.arm.model == "human"), None)

    @property
    def of_arms(self) -> list[MauveArm]:
        """Every arm but the human one."""
        return [each for each in self.arms if each.arm.model != "human"]

    @property
    def largest_spread(self) -> float | None:
        """The largest spread over k-means seeds of any arm."""
        spreads = [each.spread for each in self.of_arms if each.spread is not None]
        return max(spreads, default=None)


class Texts(Record):
    """One set of held-out texts, and how MAUVE was taken on it."""

    data: Data
    num_contexts: int
    mauve: MauveSettings | None  # {} in the file where it was not taken

    @field_validator("mauve", mode="before")
    @classmethod
    def _nothing(cls, content: Any) -> Any:
        return content or None

    @field_serializer("mauve")
    def _empty(self, mauve: MauveSettings | None) -> MauveSettings | dict[str, str]:
        return {} if mauve is None else mauve


class Agreement(MeanEstimate):
    """Top-1 agreement of two trainings of one kind on human text (definitions, section 8.6)."""

    a: ArmField
    b: ArmField


class Stopped(Record):
    """What a rule that stops repetition did to texts that may end themselves."""

    share: float  # of the arm's texts
    tokens_saved: float  # share of the tokens that greedy decoding writes up to its end or cap
    human_share: float  # of the human continuations, which it would stop too: false positives
    n: int


class DecoderRun(Record):
    """How one decoder arm came about."""

    arm: ArmField
    decoder: str  # as `hyperfit generate --decoder` takes it
    is_deterministic: bool
    alone_equals_batch: float | None  # share of contexts; None where it draws
    alone_n: int
    stopped: Stopped | None = None  # of the decoder `stop`


class GenerationsFile(Record):
    """One file of continuations. `parameters` say how they were decoded."""

    name: Name = Field(alias="arm")
    seed: int | None
    arm_parameters: dict[str, Any]
    mode: Mode
    length: int
    parameters: dict[str, Any]
    file: PathInside
    ties: int
    cached_equals_uncached: float | None
    domain: str | None = None  # of texts that are not those the study is about; else not written

    @model_serializer(mode="wrap")
    def _without_domain(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialise(self)
        return {k: v for k, v in content.items() if k != "domain" or v is not None}

    @property
    def arm(self) -> Arm:
        """Who wrote them."""
        return Arm.named(self.name, self.seed, self.arm_parameters)


class StudyFile(Texts, FileRecord):
    """What was compared, and where each number came from."""

    definitions_version: int
    model: StudiedModel
    elsewhere: list[Texts]
    ends: list[TextEnd] = Field(default_factory=list)
    evaluate: EvaluateSettings
    runs: list[TunedEntry]
    helpers: list[Origin] = Field(default_factory=list)
    entropy_matching: list[Matching]
    run_agreement: list[Agreement]
    decoding: DecodingFacts | None = None  # None where an earlier version evaluated
    decoders: list[DecoderRun]
    generations: list[GenerationsFile]
    environment: Environment
    files: dict[PathInside, str] = Field(default_factory=dict)  # digests of all that belongs to it

    def digests(self, environment: Environment) -> dict[Arm, str]:
        """Of the tuned models, where they were taken with the packages of `environment`.

        Nothing else: another version adds to a config what is the same model.
        """
        if environment.packages != self.environment.packages:
            return {}
        return {each.arm: each.digest for each in self.runs if each.digest is not None}


class MeasurementsFile(FileRecord):
    """Every mean with its interval, and every test."""

    rows: list[Measurement]
    tests: list[PairedTest]


class Speed(OfArm):
    """Tokens of the fixed-length continuations a second; None where they took no time."""

    tokens_per_second: float | None


class TimingsFile(FileRecord):
    """Clock times, apart from what a second evaluation writes alike."""

    arms: list[Speed]
