"""Where a tuned model chooses another token than its original, by how sure the original is."""

from hyperfitting.records.estimates import Estimate
from hyperfitting.records.record import OfArm, Record


class Part(Record):
    """A fifth of the positions of the human text, by the entropy of the original's prediction.

    `low_nats` and `high_nats` are the smallest and the largest entropy in it. `overridden`: where
    the tuned model chooses another token than the original. `drawn`: where a draw from the original
    at temperature 1 would be another token than its choice.
    """

    low_nats: float
    high_nats: float
    positions: int
    overridden: Estimate
    drawn: Estimate


class Overrides(OfArm):
    """The fifths of one tuned model, the surest first; without rows `reason` says why."""

    rows: list[Part]
    rise: Estimate | None = None  # from the surest fifth to the least sure
    in_words: str
    reason: str | None = None
