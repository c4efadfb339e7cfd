"""Where the words of a tuned model stand in the original's order (definitions, section 3.2)."""

from typing import Generic, TypeVar

from pydantic import Field, model_validator

from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.record import FieldError, OfArm, Record

Content = TypeVar("Content")


class ByRank(Record, Generic[Content]):
    """One thing for each class of ranks."""

    rank_1: Content
    rank_2_10: Content
    rank_11_200: Content
    rank_gt_200: Content

    def items(self) -> list[tuple[str, Content]]:
        """Each class with what it has, from the common to the rare."""
        return [(name, getattr(self, name)) for name in RANK_CLASSES]


RANK_CLASSES = tuple(ByRank.model_fields)


class Histogram(Record):
    """Counts of ranks in bins of doubling width; a bin has its own edge and not the next."""

    edges: list[int]
    counts: list[int] = Field(min_length=1)

    @model_validator(mode="after")
    def _fit(self) -> "Histogram":
        if len(self.edges) != len(self.counts) + 1:
            raise FieldError(f"edges has {len(self.edges)} edges for {len(self.counts)} counts")
        return self


class Ranks(Record):
    """Ranks in the original of the tokens of some texts."""

    shares: ByRank[MeanEstimate]
    histogram: Histogram
    by_position: ByRank[list[float]]


class Provenance(OfArm):
    """Where the words of one tuned model come from, and human words beside them.

    `ranks` and `tokens` are of every word that it wrote, for other programs.
    """

    written: Ranks
    human: Ranks
    ranks: list[list[int]]
    tokens: list[list[int]]
