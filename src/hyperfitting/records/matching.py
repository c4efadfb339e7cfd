"""The original brought to a tuned model's entropy, as `study.json` keeps it."""

from pydantic import Field

from hyperfitting.records.record import OfArm, Record


class Spread(Record):
    """Temperatures of one way to match: one for each context, or one for each step."""

    mean: float
    median: float
    p5: float
    p95: float
    n: int
    unsolved: int
    largest_residual_nats: float | None  # None where none was solved


class OneForAll(Record):
    """The single temperature at which the means over all contexts are equal."""

    tau: float | None
    residual_nats: float | None
    unsolved: int


class OneTemperature(Record):
    """Whether one temperature a context serves at each of its steps, in nats.

    `expected_nats` is what would be left were the tuned model the original at a temperature.
    """

    spread_beyond_tolerance: float  # of the contexts' temperatures
    step_residual_nats: float  # mean absolute
    largest_nats: float
    expected_nats: float


class Temperatures(Record):
    """One way to match as a table shows it; of one temperature for all only that is known."""

    kind: str
    mean: float | None
    median: float | None = None
    p5: float | None = None
    p95: float | None = None
    n: int
    unsolved: int
    residual_nats: float | None


class Matched(Record):
    """The temperatures of the three ways to match (definitions, section 4.2)."""

    per_context: Spread
    per_step: Spread
    one_for_all: OneForAll = Field(alias="global")
    one_temperature: OneTemperature | None = None  # None where an earlier version evaluated


class Matching(Matched, OfArm):
    """How one tuned model was matched, and that no temperature changes a greedy choice."""

    greedy_positions: int
    greedy_differences: int
    greedy_ties_by_rounding: int
    greedy_texts: int | None = None
    greedy_texts_equal: int | None = None

    @property
    def temperatures(self) -> list[Temperatures]:
        """The three ways to match, in the order of a table."""
        found = [
            Temperatures(
                kind=kind,
                mean=each.mean,
                median=each.median,
                p5=each.p5,
                p95=each.p95,
                n=each.n,
                unsolved=each.unsolved,
                residual_nats=each.largest_residual_nats,
            )
            for kind, each in (("per context", self.per_context), ("per step", self.per_step))
        ]
        one = self.one_for_all
        left = None if one.residual_nats is None else abs(one.residual_nats)
        return [
            *found,
            Temperatures(
                kind="one for all",
                mean=one.tau,
                n=self.per_context.n,
                unsolved=one.unsolved,
                residual_nats=left,
            ),
        ]
