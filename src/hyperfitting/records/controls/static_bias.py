"""How much of a change of the logits is the same everywhere (definitions, section 5)."""

from hyperfitting.records.controls.variety import OLDER, Variety, VarietyGained
from hyperfitting.records.estimates import GainEstimate, MeanEstimate, undefined_mean
from hyperfitting.records.record import OfArm, Record


class Injection(VarietyGained):
    """The original decoded with a constant shift of its logits.

    `kind` is promoted, in_sample (the same, measured on the very contexts it is added to), all or
    random; random draws are averaged.
    """

    kind: str
    strength: float
    draws: int
    p_holm: float | None = None
    top1_agreement_tuned: MeanEstimate = undefined_mean(OLDER)
    equals_tuned: float | None = None  # share of the texts
    ttr_minus_original: MeanEstimate
    ttr_minus_random: GainEstimate | None = None

    @property
    def p(self) -> float | None:
        """Of a difference to strength 0, which changes nothing and is no test itself."""
        return self.p_holm if self.strength else None


class Promoted(Record):
    """A token that gains rank on average."""

    id: int | None = None
    text: str
    mean_rank_improvement: float
    mean_logit_shift: float


class StaticBias(OfArm):
    """The static share of one tuned model, and what its shift does to the original.

    Without any change there is nothing besides share and words, and `reason` says why.
    """

    static_share: float | None
    static_share_low: float | None = None
    static_share_high: float | None = None
    static_share_reason: str | None = None
    in_words: str
    reason: str | None = None
    promoted_tokens: int | None = None
    positions: int | None = None
    rank_positions: int | None = None
    most_promoted: list[Promoted] | None = None
    strength_0_equals_original: float | None = None  # share of the texts
    gain: GainEstimate | None = None
    rows: list[Injection]
    tuned: Variety | None = None
    strength_ttr_spearman: float | None = None  # of the promoted tokens, from three strengths on
    verdict_in_words: str | None = None
