"""Whether one temperature and one constant shift together are the change of the logits."""

from hyperfitting.records.controls.variety import Variety
from hyperfitting.records.estimates import Estimate, GainEstimate, MeanEstimate
from hyperfitting.records.record import OfArm


class FittedNull(Variety):
    """The original with its logits scaled, shifted or both, as fitted to the tuned model.

    `kind` is temperature, shift or joint. Contexts of one half are scored and decoded with the fit
    on the other; `temperatures` are those of both halves, in their order.
    """

    kind: str
    temperatures: list[float]
    share_explained: Estimate  # of the squared change, at most 1
    top1_agreement_tuned: MeanEstimate
    equals_tuned: float  # share of the texts


class JointNull(OfArm):
    """The fits of one tuned model; without rows `reason` says why there are none."""

    rows: list[FittedNull]
    gain: GainEstimate | None = None
    original: Variety | None = None
    tuned: Variety | None = None
    agreement_without: MeanEstimate | None = None  # of the original's and the tuned choices
    in_words: str
    reason: str | None = None
