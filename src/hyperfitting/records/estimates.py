"""A value with its interval, in the forms in which files hold it."""

from pydantic import Field

from hyperfitting.records.record import Record


class Estimate(Record):
    """A value over n contexts with its interval; None where undefined, with the reason."""

    value: float | None
    low: float | None
    high: float | None
    n: int = 0
    reason: str | None = None


class MeanEstimate(Estimate):
    """A mean over n contexts; the files call it `mean`."""

    value: float | None = Field(alias="mean")


class PercentEstimate(Estimate):
    """A share in percent; the files call it `percent`."""

    value: float | None = Field(alias="percent")
