"""What kinds of tokens the tuned model chooses, by rank in the original (definitions, 3.3)."""

from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.record import OfArm, Record


class ChosenOfClass(Record):
    """What the tuned model chooses from one class of ranks; shares are means over contexts."""

    rank_class: str
    tokens: int
    share: MeanEstimate
    kinds: dict[str, MeanEstimate]
    seen_before: MeanEstimate
    avoids_repeat: MeanEstimate


class ChosenKinds(OfArm):
    """Kinds of the tokens that one tuned model chooses on human text."""

    function_words_version: str
    rows: list[ChosenOfClass]
