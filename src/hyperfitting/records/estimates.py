"""A value with its interval, in the forms in which files hold it.

Some estimates stand flat among the fields of a record: `share_of_gain`, `share_of_gain_low`,
`share_of_gain_high`, `share_of_gain_reason`. Their records say so field by field.
"""

from pydantic import Field

from hyperfitting.records.record import Record


class BareEstimate(Record):
    """A value with its interval, whose n stands elsewhere in its file; None where undefined."""

    value: float | None
    low: float | None
    high: float | None

    def over(self, n: int) -> "Estimate":
        """The same value over so many contexts."""
        return Estimate(value=self.value, low=self.low, high=self.high, n=n)


class Estimate(BareEstimate):
    """A value over n contexts with its interval; None where undefined, with the reason."""

    n: int = 0
    reason: str | None = None


class MeanEstimate(Estimate):
    """A mean over n contexts; the files call it `mean`."""

    value: float | None = Field(alias="mean")
    n: int


class GainEstimate(BareEstimate):
    """A difference over the same contexts; the reason says why it is not told from 0."""

    value: float
    reason: str | None


def undefined(reason: str) -> Estimate:
    """No value, and why."""
    return Estimate(value=None, low=None, high=None, reason=reason)


def undefined_mean(reason: str) -> MeanEstimate:
    """No mean, and why."""
    return MeanEstimate(value=None, low=None, high=None, n=0, reason=reason)
