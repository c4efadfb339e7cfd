"""What more than one control says of texts: how varied they are, and their share of a gain."""

from hyperfitting.records.estimates import Estimate, MeanEstimate
from hyperfitting.records.record import Record

OLDER = "not measured by the version that wrote this file"


class Variety(Record):
    """How varied continuations of fixed length are, and the share of them that loop."""

    ttr: MeanEstimate
    bigram_repetition: MeanEstimate
    looped: MeanEstimate


class VarietyGained(Variety):
    """The same of texts that stand between original and tuned model.

    `share_of_gain` is the part of the tuned model's gain in TTR that they have, any number.
    """

    share_of_gain: float | None
    share_of_gain_low: float | None = None
    share_of_gain_high: float | None = None
    share_of_gain_reason: str | None = None

    @property
    def gained(self) -> Estimate:
        """The share of the gain with its interval."""
        reason = self.share_of_gain_reason or (OLDER if self.share_of_gain is None else None)
        return Estimate(
            value=self.share_of_gain,
            low=self.share_of_gain_low,
            high=self.share_of_gain_high,
            n=self.ttr.n,
            reason=reason,
        )
