"""Whether tuning turned the singular vectors of the matrices or changed their singular values."""

from hyperfitting.records.controls.variety import Variety
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.record import OfArm, Record

# Which part of the tuned model's block matrices the original is given.
VALUES, VECTORS, BOTH = "values", "vectors", "both"


class BlockRotation(Record):
    """The matrices of one block, which counts from 1.

    `relative_change` is the length of the change over that of the matrices. `values_share` is the
    share of the squared change that changes singular values, in the original's own basis;
    `values_share_by_chance` that of a change of this size in a random direction.
    """

    block: int
    matrices: int
    relative_change: float
    values_share: float
    values_share_by_chance: float


class Given(Variety):
    """The original with the tuned model's singular values, vectors, or both, in every block."""

    part: str
    top1_agreement_tuned: MeanEstimate  # on human text


class Rotation(OfArm):
    """Every block whose matrices changed, and three hybrids; without rows `reason` says why."""

    rows: list[BlockRotation]
    hybrids: list[Given]
    original: Variety | None = None
    tuned: Variety | None = None
    agreement: MeanEstimate | None = None  # of both models on human text
    others_changed: int = 0  # matrices of blocks that are no linear layers: not looked at
    in_words: str
    reason: str | None = None
