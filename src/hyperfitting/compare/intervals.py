"""Values with interval and n over contexts, as the controls keep them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import ExplainConfig
from hyperfitting.measure.intervals import Interval, bootstrap_mean, bootstrap_ratio
from hyperfitting.records.estimates import Estimate, MeanEstimate, undefined_mean

ALONE = "one context has no interval"


def interval_of(
    values: Sequence[float] | NDArray[np.float64], config: ExplainConfig
) -> MeanEstimate:
    """Mean, interval and n of one value per context; None with its reason where undefined."""
    array = np.asarray(values, dtype=float)
    defined = array[~np.isnan(array)]
    if not len(defined):
        return undefined_mean("undefined for every context")
    found = bootstrap_mean(
        defined, resamples=config.resamples, confidence=config.confidence, seed=config.seed
    )
    reason = ALONE if found.low is None else None
    return MeanEstimate(**found._asdict(), n=len(defined), reason=reason)


def estimate_of(found: Interval, n: int) -> Estimate:
    """A value over n contexts with its interval, or the reason why it has none."""
    reason = ALONE if found.low is None else None
    return Estimate(value=found.mean, low=found.low, high=found.high, n=n, reason=reason)


def ratio_of(
    parts_N: NDArray[np.float64], weights_N: NDArray[np.float64], config: ExplainConfig
) -> Estimate:
    """Sum of parts / sum of weights over the contexts whose weight is above 0; one must be."""
    has_N = weights_N > 0
    found = bootstrap_ratio(
        parts_N[has_N], weights_N[has_N], resamples=config.resamples,
        confidence=config.confidence, seed=config.seed,
    )  # fmt: skip
    return estimate_of(found, int(has_N.sum()))
