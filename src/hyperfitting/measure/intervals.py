"""Intervals and tests over contexts, paired and seeded.

A mean over fewer than two contexts has no interval: None, never a point of width 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats


class Interval(NamedTuple):
    """A mean over contexts and its percentile-bootstrap interval."""

    mean: float
    low: float | None
    high: float | None


def bootstrap_mean(
    values: NDArray[np.float64], *, resamples: int, confidence: float, seed: int
) -> Interval:
    """Mean of `values` with a percentile bootstrap over contexts (definitions, section 1.5).

    Raises:
        ValueError: no values, or values that are not finite.
    """
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"bootstrap_mean needs finite values, got {len(values)} values: {values}")
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, None, None)
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
        batch=1_000,
    )
    interval = result.confidence_interval
    return Interval(mean, float(interval.low), float(interval.high))


def sign_flip_p(differences: NDArray[np.float64], *, flips: int, seed: int) -> float:
    """Two-sided p of paired differences under random sign flips, in (0, 1].

    p = (1 + exceedances) / (1 + flips) for |mean| (definitions, section 1.5).

    Raises:
        ValueError: fewer than two differences.
    """
    if len(differences) < 2:
        raise ValueError(f"sign_flip_p needs at least 2 differences, got {len(differences)}")
    rng = np.random.default_rng(seed)
    observed = abs(differences.sum())
    signs = rng.choice(np.array([-1.0, 1.0]), size=(flips, len(differences)))
    # Rounding must not make a flip that reproduces the observed sum count as smaller.
    exceedances = int((np.abs(signs @ differences) >= observed * (1 - 1e-12)).sum())
    return (1 + exceedances) / (1 + flips)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given, in (0, 1]."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
