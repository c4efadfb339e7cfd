"""Mean, interval and n of one value per context, as the controls keep them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import ExplainConfig
from hyperfitting.measure.gain import Share
from hyperfitting.measure.intervals import bootstrap_mean


def interval_of(
    values: Sequence[float] | NDArray[np.float64], config: ExplainConfig
) -> dict[str, Any]:
    """Mean, interval and n of one value per context; null with its reason where undefined."""
    array = np.asarray(values, dtype=float)
    defined = array[~np.isnan(array)]
    empty: dict[str, Any] = {"mean": None, "low": None, "high": None, "n": len(defined)}
    if not len(defined):
        return empty | {"reason": "undefined for every context"}
    found = bootstrap_mean(
        defined, resamples=config.resamples, confidence=config.confidence, seed=config.seed
    )
    reason = {"reason": "one context has no interval"} if found.low is None else {}
    return empty | found._asdict() | reason


def as_fields(name: str, found: Share) -> dict[str, Any]:
    """A share with its interval and reason, as JSON files name them."""
    ends = ("", "_low", "_high", "_reason")
    return {f"{name}{end}": value for end, value in zip(ends, found, strict=True)}
