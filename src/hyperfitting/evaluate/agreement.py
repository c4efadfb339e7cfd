"""How far two trainings that differ in seed or order agree: how much is noise. Pure."""

from collections.abc import Sequence
from itertools import combinations

from hyperfitting.config import EvaluateConfig
from hyperfitting.evaluate.arms import ArmOutputs
from hyperfitting.measure.intervals import bootstrap_mean
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.records import Arm
from hyperfitting.records.study import Agreement


def _apart_from_order(arm: Arm) -> Arm:
    """What two runs of one kind have in common."""
    settings = ((key, value) for key, value in arm.settings if key != "order_seed")
    return Arm(arm.model, settings=tuple(settings))


def run_agreements(arms: Sequence[ArmOutputs], config: EvaluateConfig) -> list[Agreement]:
    """Top-1 agreement of every two runs of one arm on human text (definitions, section 8.6).

    Those that differ in seed or order of the data only: a difference between arms that is
    smaller than this variation is not claimed. A share in [0, 1] with its interval over contexts.
    """
    found = []
    for a, b in combinations(arms, 2):
        both_greedy = not a.arm.is_control and not b.arm.is_control
        same_kind = both_greedy and _apart_from_order(a.arm) == _apart_from_order(b.arm)
        if not same_kind or a.forced is None or b.forced is None:
            continue
        values = top1_agreement(a.forced.tuned.top1_NK, b.forced.tuned.top1_NK)
        interval = bootstrap_mean(
            values, resamples=config.resamples, confidence=config.confidence, seed=config.seed
        )
        mean, low, high = interval
        found.append(Agreement(a=a.arm, b=b.arm, value=mean, low=low, high=high, n=len(values)))
    return found
