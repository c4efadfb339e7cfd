"""The nouns that travel between stages. Plain data: no torch, no files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from hyperfitting.records.arms import Arm
from hyperfitting.records.record import Name

Mode = Literal["fixed_length", "natural"]
Ending = Literal["ended", "looped", "truncated"]
Prefix = Literal["TF", "OP"]
Noise = Literal["contexts", "trainings and contexts"]

SIGNIFICANT = 0.05  # a p below this, adjusted where there are several, is a finding

# The paper's words for what we call by the arm and metric names on the left.
PAPER_NAMES: Mapping[str, str] = {
    "original": "Original (T = 1)",
    "original_entropy_matched": "Original (T = T*, entropy-matched)",
    "hyperfitted": "Hyperfitted (Full SFT)",
    "full_lora": "Full LoRA",
    "late_stage_lora": "Late-Stage LoRA",
    "ttr": "Type-Token Ratio (TTR)",
    "bigram_repetition": "Bigram Repetition",
    "trigram_repetition": "Trigram Repetition",
    "prediction_entropy_nats": "Entropy",
    "spearman": "Spearman Rank Corr. with Original",
    "top1_agreement_tf": "Top-1 Agreement with Original",
    "top1_agreement_op": "Top-1 Agreement with Original",
}


class Row:
    """A row of a file: a field that is not known is refused."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class Generation(Row):
    """One continuation of one context by one arm."""

    arm: Name
    seed: int | None
    context_index: int
    mode: Mode
    context_ids: list[int]
    continuation_ids: list[int]
    context: str
    continuation: str
    ending: Ending
    num_ties: int = 0  # steps at which two tokens shared the largest logit


@dataclass(frozen=True, kw_only=True)
class MetricValues:
    """One metric of one arm for every context, None where undefined; `note` says what to know."""

    arm: Arm
    metric: str
    values: list[float | None]
    mode: Mode | None = None
    length: int | None = None
    prefix: Prefix | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Measurement(Row):
    """One cell of a table: a mean over contexts with its interval.

    `undefined` counts contexts without a value. `mean`, `low` and `high` are None where they do
    not exist, and `reason` says why.
    """

    arm: Name
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    undefined: int
    model: str
    domain: str
    seed: int | None = None  # of the training; None also for a mean over several
    num_seeds: int = 1
    mode: Mode | None = None
    length: int | None = None
    prefix: Prefix | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @property
    def key(self) -> Arm:
        """The arm this is of."""
        return Arm.named(self.arm, self.seed, self.parameters)


@dataclass(frozen=True, kw_only=True)
class PairedTest(Row):
    """Arm `a` against `b` on the same contexts: mean difference a - b, its interval and p.

    `noise` says what the interval and p contain. Over contexts alone a test is about these trained
    models (sign flips); over trainings and contexts about the ways to train them (t). Two methods
    trained once cannot be compared: no p. `claimable` is the smallest absolute difference that
    would be significant after Holm's correction, at the spread found.

    Where the claim is that both are the same, `margin` and `p_equivalence` are set: two one-sided
    tests that the mean difference lies within the margin.
    """

    a: Name
    b: Name
    metric: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int
    seed: int | None = None  # training seed of a, and of b where b was trained
    a_parameters: Mapping[str, Any] = field(default_factory=dict)
    b_parameters: Mapping[str, Any] = field(default_factory=dict)
    num_seeds: int = 1  # trainings of a
    num_seeds_b: int = 0  # trainings of b; 0 where it was not trained, or with a
    noise: Noise = "contexts"
    confidence: float | None = None  # level of the interval
    claimable: float | None = None
    domain: str = ""
    margin: float | None = None
    p_equivalence: float | None = None
    reason: str | None = None

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """`a` and `b`; the seed is that of every trained arm in it."""
        one, other = (
            Arm.named(name, self.seed, parameters)
            for name, parameters in ((self.a, self.a_parameters), (self.b, self.b_parameters))
        )
        return one, other if other.is_trained else other.variant


@dataclass(frozen=True, kw_only=True)
class MonitorRow(Row):
    """One monitoring point of training (definitions, section 7.2); epoch 0 is the original.

    The rank shares are of the tokens that the model chose greedily, by their rank in the
    original model on the same prefix: `OP` on its own continuations, `TF` on held-out windows.
    TTR and repetition are None where nothing was generated, the perplexity where it is too large
    for a number. `looped` is the share of texts that end in a loop, `nonwords` that of words that
    do not exist. `train_top1` is the share of training tokens that the model ranks first,
    `train_entropy` the entropy of its predictions there, in nats; both are of some of the windows.
    `per_context` has the shares and TTR of every text. Fields with a default were not measured by
    earlier versions.
    """

    epoch: int
    step: int
    train_loss: float | None
    val_loss: float
    val_ppl: float | None
    ttr: float | None
    bigram_repetition: float | None
    rank_1: float
    rank_2_10: float
    rank_gt_10: float
    rank_prefix: Prefix
    num_contexts: int
    num_windows: int
    seconds: float
    rank_gt_200: float | None = None
    looped: float | None = None
    nonwords: float | None = None
    train_top1: float | None = None
    train_entropy: float | None = None
    per_context: Mapping[str, list[float | None]] = field(default_factory=dict)
