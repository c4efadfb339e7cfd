"""One model's last blocks on the other's lower ones."""

from hyperfitting.records.controls.variety import Variety, VarietyGained
from hyperfitting.records.estimates import GainEstimate, MeanEstimate
from hyperfitting.records.record import OfArm, Record

# Whose blocks are the upper ones.
TUNED_UPPER, ORIGINAL_UPPER = "tuned_upper", "original_upper"


class Hybrid(VarietyGained):
    """What a model put together from both writes, and how often it chooses as each of them."""

    hybrid: str  # tuned_upper or original_upper
    blocks: int  # how many of the last ones are taken over
    top1_agreement_original: MeanEstimate
    top1_agreement_tuned: MeanEstimate
    share_of_gain: float | None = None  # version 0.1 did not write it


class References(Record):
    """What both models themselves write."""

    original: Variety
    tuned: Variety


class Placed(Record):
    """The fewest last blocks tried that bring the effect, and the most below that do not."""

    outcome: str  # by which the effect is placed
    enough: int | None
    too_few: int | None


class BlockSwap(OfArm):
    """Every hybrid of one tuned model and its original.

    What version 0.1 did not write has a default. `placed` is None where there is no effect.
    """

    num_blocks: int
    shared_blocks: int | None = None  # lowest blocks that are the same in both
    rows: list[Hybrid]
    references: References
    gain: GainEstimate | None = None
    differing_choices: MeanEstimate | None = None
    placed: Placed | None = None
    in_words: str
