"""Intervals and tests over contexts, paired and seeded.

A mean over fewer than two contexts has no interval: None, never a point of width 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperfitting.records import SIGNIFICANT
from hyperfitting.records.estimates import MeanEstimate, undefined_mean


class Interval(NamedTuple):
    """A mean over contexts and its percentile-bootstrap interval."""

    mean: float
    low: float | None
    high: float | None


class Bounded(NamedTuple):
    """A value on the full sample and its bootstrap interval over contexts."""

    value: float
    low: float | None
    high: float | None


def clopper_pearson(count: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of Clopper and Pearson (1934) of a share, `count` of `n`, in [0, 1].

    Raises:
        ValueError: `count` outside [0, n], n of 0, or `confidence` outside (0, 1).
    """
    if not 0 <= count <= n or n == 0 or not 0 < confidence < 1:
        raise ValueError(f"clopper_pearson needs 0 <= count <= n, n > 0; got {count} of {n}")
    interval = stats.binomtest(count, n).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def share_estimate(truths: Sequence[bool], *, confidence: float = 0.95) -> MeanEstimate:
    """The share of texts for which something holds, with its exact interval; None of no texts."""
    if not truths:
        return undefined_mean("there are no texts")
    low, high = clopper_pearson(sum(truths), len(truths), confidence=confidence)
    return MeanEstimate(value=sum(truths) / len(truths), low=low, high=high, n=len(truths))


def mean_estimate(
    values: Sequence[float | None],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> MeanEstimate:
    """The mean over the texts that have a value, with its bootstrap interval (`bootstrap_mean`)."""
    defined = np.array([value for value in values if value is not None], dtype=np.float64)
    if not len(defined):
        return undefined_mean("no text has a value")
    found = bootstrap_mean(defined, resamples=resamples, confidence=confidence, seed=seed)
    return MeanEstimate(value=found.mean, low=found.low, high=found.high, n=len(defined))


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


def percentiles_around(
    value: float, draws_R: NDArray[np.float64], confidence: float
) -> tuple[float | None, float | None]:
    """Percentiles of bootstrap draws whose mean is moved onto `value`; NaN draws are left out.

    For values that are biased in a resample, which holds some contexts twice (decision 0010).
    None where no draw is defined.
    """
    defined = draws_R[~np.isnan(draws_R)]
    if not len(defined):
        return None, None
    around = defined - defined.mean() + value
    low, high = np.quantile(around, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _multiplicities(rng: np.random.Generator, draws: int, count: int) -> NDArray[np.float64]:
    """How often each of `count` things is drawn in `count` draws with replacement, [draws, count].

    Each row sums to `count`.
    """
    drawn = rng.integers(count, size=(draws, count)) + count * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count).astype(float)


def bootstrap_mean_over_seeds(
    values_SN: NDArray[np.float64], *, resamples: int, confidence: float, seed: int
) -> Interval:
    """Mean over training seeds and contexts with a hierarchical bootstrap (definitions, 1.5).

    Each draw takes S seeds with replacement, then N contexts with replacement. The drawn
    contexts are the same for all drawn seeds, because all seeds were evaluated on the same
    texts. With one seed this is the bootstrap over contexts alone. With fewer than about 5
    seeds the interval is too narrow for the spread between seeds: say how many there are.

    Raises:
        ValueError: values that are not [S, N], no values, or values that are not finite.
    """
    if values_SN.ndim != 2 or values_SN.size == 0 or not np.isfinite(values_SN).all():
        raise ValueError(
            f"bootstrap_mean_over_seeds needs finite values [S, N], got shape {values_SN.shape}: "
            f"{values_SN}"
        )
    seeds, contexts = values_SN.shape
    mean = float(values_SN.mean())
    if contexts < 2:
        return Interval(mean, None, None)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, 1_000):
        draws = min(1_000, resamples - start)
        weight_RS = _multiplicities(rng, draws, seeds)
        total_RS = _multiplicities(rng, draws, contexts) @ values_SN.T
        means[start : start + draws] = (weight_RS * total_RS).sum(axis=1) / values_SN.size
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high))


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


def holm_level(others: Sequence[float], level: float = SIGNIFICANT) -> float:
    """Below which p one more test is significant after Holm's correction beside `others`.

    Exactly: its adjusted p is below `level` where its own p is below the value returned.
    """
    count, rejected = len(others) + 1, 0
    for p in sorted(others):
        if (count - rejected) * p >= level:
            break
        rejected += 1
    return level / (count - rejected)


def ratio_draws(
    parts_N: NDArray[np.float64], weights_N: NDArray[np.float64], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Bootstrap draws of sum of `parts_N` / sum of `weights_N` over the N units, [resamples].

    Both sums are of the same drawn units; equal for equal N and seed.

    Raises:
        ValueError: no units, values that are not finite, or a weight that is not above 0.
    """
    is_finite = np.isfinite(parts_N).all() and np.isfinite(weights_N).all()
    if len(parts_N) == 0 or not is_finite or (weights_N <= 0).any():
        raise ValueError(f"finite parts and weights above 0 are needed, got {parts_N}, {weights_N}")
    rng = np.random.default_rng(seed)
    ratio_R = np.empty(resamples)
    for start in range(0, resamples, 1_000):
        draws = min(1_000, resamples - start)
        times_RN = _multiplicities(rng, draws, len(parts_N))
        ratio_R[start : start + draws] = (times_RN @ parts_N) / (times_RN @ weights_N)
    return ratio_R


def bootstrap_ratio(
    parts_N: NDArray[np.float64],
    weights_N: NDArray[np.float64],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """Sum of `parts_N` / sum of `weights_N`, with a percentile bootstrap over the N units.

    A weighted mean has parts of weight times value.

    Raises:
        ValueError: as `ratio_draws`.
    """
    ratio_R = ratio_draws(parts_N, weights_N, resamples=resamples, seed=seed)
    value = float(parts_N.sum() / weights_N.sum())
    if len(parts_N) < 2:
        return Interval(value, None, None)
    low, high = np.quantile(ratio_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def bootstrap_median(
    values_P: NDArray[np.float64],
    unit_P: NDArray[np.int64],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """Median of `values_P`, with a percentile bootstrap over the units that they belong to.

    A unit that is drawn brings all its values. With one unit there is no interval.

    Raises:
        ValueError: no values, values that are not finite, or another number of units.
    """
    if len(values_P) == 0 or len(values_P) != len(unit_P) or not np.isfinite(values_P).all():
        raise ValueError(f"finite values and a unit of each are needed, got {values_P}, {unit_P}")
    median = float(np.median(values_P))
    units, place_P = np.unique(unit_P, return_inverse=True)
    if len(units) < 2:
        return Interval(median, None, None)
    order_P = np.argsort(values_P, kind="stable")
    sorted_P, place_P = values_P[order_P], place_P[order_P]
    rng = np.random.default_rng(seed)
    medians_R = np.empty(resamples)
    for start in range(0, resamples, 1_000):
        draws = min(1_000, resamples - start)
        below_RP = _multiplicities(rng, draws, len(units))[:, place_P].cumsum(axis=1)
        total_R1 = below_RP[:, -1:]
        middle = [
            sorted_P[(below_RP > (total_R1 - 1) // 2).argmax(axis=1)],
            sorted_P[(below_RP > total_R1 // 2).argmax(axis=1)],
        ]
        medians_R[start : start + draws] = (middle[0] + middle[1]) / 2
    low, high = np.quantile(medians_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(median, float(low), float(high))
