"""What each block brings alone, and what is missing without it."""

from collections.abc import Sequence

from hyperfitting.records.controls.variety import Variety
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.record import OfArm

# Into which model a block of the other is put.
PUT_IN, TAKEN_OUT = "put_in", "taken_out"


class OneBlock(Variety):
    """A model with one block, or final norm and head, of the other.

    `change` is put_in (the original with the tuned model's) or taken_out (the reverse); `block`
    counts from 1, None for final norm and head.
    """

    change: str
    block: int | None
    top1_agreement_tuned: MeanEstimate  # on human text


class SingleBlocks(OfArm):
    """Every block in which the models differ, alone; blocks that are the same have no row."""

    num_blocks: int
    shared_blocks: int
    rows: list[OneBlock]
    original: Variety
    tuned: Variety
    agreement: MeanEstimate  # of both models on human text
    in_words: str

    def of(self, change: str) -> Sequence[OneBlock]:
        """The rows of one direction, by block."""
        return [row for row in self.rows if row.change == change]
