"""What `judge/results.json` holds: two arms compared by a judge (definitions, section 8.8).

Every rate is of arm `a`. Texts of the judge and of its server are untrusted.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from hyperfitting.records.measured import Mode
from hyperfitting.records.record import FileRecord, OfArm, Record

Order = Literal["ab", "ba"]  # whose text is shown as A: arm a's, or arm b's


class Rate(Record):
    """A share of pairs in percent with its exact interval; None where there is no pair."""

    percent: float | None
    low: float | None
    high: float | None


class FlipRate(Rate):
    """The share of pairs whose verdict changed with the order, or why there is none."""

    reason: str | None


class Outcome(Record):
    """How arm `a` fared against `b` over n valid pairs; the three rates sum to 100 percent.

    `p` is of the two-sided exact sign test without ties, in (0, 1]. `reason` says why a value
    is None.
    """

    n: int
    wins: int
    losses: int
    ties: int
    win_rate: Rate
    loss_rate: Rate
    tie_rate: Rate
    p: float | None
    reason: str | None

    @property
    def rates(self) -> tuple[Rate, Rate, Rate]:
        """Shares of pairs that `a` won, lost and tied."""
        return self.win_rate, self.loss_rate, self.tie_rate


class PositionBias(Record):
    """How much the place decided, over n pairs asked in both orders.

    A pair favours a place where the answers, summed over its orders, go to the text shown there.
    A judge without bias favours both places equally often; `p` is the exact sign test of that.
    `flips` are pairs whose verdict changed with the order, a win to a tie included;
    `reversals` those in which each arm won once.
    """

    n: int
    flips: int
    reversals: int
    flip_rate: Rate
    favour_first: int
    favour_second: int
    p: float | None
    reason: str | None


class LeftOut(Record):
    """One order of a pair that has no verdict."""

    context_index: int
    order: Order
    reason: str


class Unusable(Record):
    """What was left out: pairs, their orders without a verdict, and how often for which reason."""

    pairs: int
    orders: int
    reasons: dict[str, int]
    each: list[LeftOut] = Field(alias="list")


class JudgeIdentity(Record):
    """Who judged, and what it was asked; `identity` is its name in the keys of its answers."""

    model: str
    identity: str
    answered_by: list[str]
    endpoint: str | None
    temperature: float | None
    prompt_version: int
    prompt_digest: str
    reading_version: int = 1  # of the rules that find a verdict in an answer


class Usage(Record):
    """Requests and tokens as the server counted them; None where it counted none."""

    requests: int
    prompt_tokens: int | None
    answer_tokens: int | None


class JudgedSide(OfArm):
    """One of the two arms, and which of its texts were read."""

    mode: Mode
    length: int  # tokens: exactly these in fixed length, at most these in natural mode
    decoding: dict[str, Any] = Field(default_factory=dict)  # decoder, its values, sampling_seed
    texts: str | None = None  # digest of the file of its texts

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, content: Any) -> Any:
        """Tell the arm's own parameters from its decoding, which once stood together."""
        if not isinstance(content, Mapping) or "decoding" in content:
            return content
        together = content.get("parameters")
        if not isinstance(together, Mapping) or "decoder" not in together:
            return content
        own = {k: v for k, v in together.items() if k not in ("decoder", "sampling_seed")}
        return {**content, "parameters": own, "decoding": dict(together)}


class Judgement(Record):
    """One comparison; of `settings` the key's place is left out."""

    a: JudgedSide
    b: JudgedSide
    protocol: str
    pairs_available: int
    pairs_chosen: int
    n: int  # valid pairs
    winner: Outcome
    coherence: Outcome
    diversity: Outcome
    position_flip_rate: FlipRate
    position_bias: PositionBias | None  # None where there is one order
    unusable: Unusable
    judge: JudgeIdentity
    first_answer: str | None
    last_answer: str | None
    written: str
    usage: Usage
    settings: dict[str, Any]

    @property
    def questions(self) -> dict[str, Outcome]:
        """The outcome of each question that a pair is asked."""
        return {"winner": self.winner, "coherence": self.coherence, "diversity": self.diversity}


class Judgements(FileRecord):
    """`judge/results.json`: every comparison of a study."""

    definitions_version: int = 1
    comparisons: list[Judgement]
