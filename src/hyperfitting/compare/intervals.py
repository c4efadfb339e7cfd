"""Mean, interval and n of one value per context, as the controls keep them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import ExplainConfig
from hyperfitting.measure.intervals import bootstrap_mean
from hyperfitting.records.estimates import MeanEstimate, undefined_mean


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
    reason = "one context has no interval" if found.low is None else None
    return MeanEstimate(**found._asdict(), n=len(defined), reason=reason)
