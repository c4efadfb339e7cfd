"""At which layer the words that a tuned model promotes pass those of its original."""

from hyperfitting.records.estimates import Estimate
from hyperfitting.records.record import OfArm, Record


class LensLayer(Record):
    """What one layer's states say, read through each model's own final norm and head.

    `rank_tuned` and `rank_original` are the median ranks of the promoted tokens in the tuned model
    and in the original, `passed` the share of them that are above the original's choice in the
    tuned model from this layer on, to the last. Layer 0 is what enters the first block.
    """

    layer: int
    rank_tuned: Estimate
    rank_original: Estimate
    passed: Estimate


class Lens(OfArm):
    """Every layer; without rows `reason` says why.

    `promoted` counts the positions of the human text where the tuned model chooses a token beyond
    rank 10 of the original, `positions` those of them that were looked at, drawn at random.
    """

    num_blocks: int
    promoted: int
    positions: int
    rows: list[LensLayer]
    last_block: Estimate | None = None  # share that pass at the last layer and not before
    in_words: str
    reason: str | None = None
