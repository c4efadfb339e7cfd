"""MAUVE: how near machine texts lie to human texts, from features of whole texts.

Own implementation of the published steps (Pillutla et al. 2021, arXiv 2102.01454; definitions,
section 2.7). Shape letters: N texts a side, D features, K buckets (clusters).

Only values of one run can be compared: the same N, features, token limit and buckets. Print the
number beside all of them. The value falls with N for texts of equal quality, and few buckets see
few differences.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from hyperfitting.errors import InputError

FEWEST_TEXTS = 20  # a side; below, MAUVE is undefined
FEW_TEXTS = 1_000  # a side; below, `small_sample`
# Constants of the published pipeline.
TEXTS_PER_BUCKET = 10
NUM_WEIGHTS = 25
SMALLEST_WEIGHT = 1e-6
KMEANS_ITERATIONS, KMEANS_RESTARTS = 500, 5


@dataclass(frozen=True)
class Mauve:
    """MAUVE with all that it has to be printed with."""

    value: float | None  # mean over the k-means seeds, in (0, 1]; higher is nearer to human
    per_seed: tuple[float, ...]
    spread: float | None  # standard deviation over the k-means seeds; None for one seed
    num_buckets: int | None
    num_dimensions: int | None  # left by the PCA
    n: int  # texts a side
    small_sample: bool
    reason: str | None  # why there is no value
    resampled_R: NDArray[np.float64] | None = None  # values of bootstrap draws, where asked for


def _kl_nats(a_K: NDArray[np.float64], b_K: NDArray[np.float64]) -> float:
    """KL(a || b) in nats; buckets without mass in `a` add nothing."""
    seen_K = a_K > 0
    return float((a_K[seen_K] * np.log(a_K[seen_K] / b_K[seen_K])).sum())


def mauve_from_histograms(
    p_K: NDArray[Any] | Sequence[float],
    q_K: NDArray[Any] | Sequence[float],
    *,
    scaling: float = 5.0,
) -> float:
    """Area under the divergence curve of two histograms, in (0, 1]; 1 for equal ones.

    For 25 weights w in [1e-6, 1 - 1e-6] the mixture is R = w P + (1 - w) Q and the curve's point
    (exp(-c KL(Q||R)), exp(-c KL(P||R))), c = `scaling`; the curve ends in (1, 0) and (0, 1).
    It only rises to the left, so the area over one axis is the area over the other, and the
    published average of the two needs no second sum. Counts or shares; each is made to sum to 1.

    Raises:
        ValueError: other shapes than two equal [K], a negative, infinite or all-zero histogram,
            or a scaling not above 0.
    """
    shares = []
    for counts in (p_K, q_K):
        counts_K = np.asarray(counts, dtype=np.float64)
        if not (np.isfinite(counts_K).all() and (counts_K >= 0).all() and counts_K.sum() > 0):
            raise ValueError(f"a histogram needs counts from 0 and one above it, got {counts_K}")
        shares.append(counts_K / counts_K.sum())
    p, q = shares
    if p.ndim != 1 or p.shape != q.shape:
        raise ValueError(f"two histograms [K] of one length are needed, got {p.shape}, {q.shape}")
    if not scaling > 0:
        raise ValueError(f"the scaling must be above 0, got {scaling}")
    curve = [(1.0, 0.0)]
    for weight in np.linspace(SMALLEST_WEIGHT, 1 - SMALLEST_WEIGHT, NUM_WEIGHTS):
        r = weight * p + (1 - weight) * q
        to_q, to_p = _kl_nats(q, r), _kl_nats(p, r)
        curve.append((float(np.exp(-scaling * to_q)), float(np.exp(-scaling * to_p))))
    curve.append((0.0, 1.0))
    x, y = np.array(curve).T
    return float(np.trapezoid(y[::-1], x[::-1]))


def require_sklearn() -> Any:
    """The package that MAUVE needs.

    Raises:
        InputError: it is missing.
    """
    try:
        import sklearn.cluster
        import sklearn.decomposition
        import sklearn.exceptions
    except ImportError as error:
        raise InputError(
            "MAUVE needs scikit-learn, which is not installed",
            needed="the extra: pip install 'hyperfitting[quality]'",
        ) from error
    return sklearn


def _reduced(
    p_ND: NDArray[np.floating[Any]], q_ND: NDArray[np.floating[Any]], variance: float
) -> NDArray[np.float64]:
    """Both sides, each text scaled to length 1, on the PCA axes that keep `variance`, [2N, R]."""
    both = np.concatenate([p_ND, q_ND]).astype(np.float64)
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    pca = require_sklearn().decomposition.PCA(n_components=variance)
    reduced: NDArray[np.float64] = pca.fit_transform(both)
    return reduced


def _buckets(points: NDArray[np.float64], num_buckets: int, seed: int) -> NDArray[np.int64]:
    """The k-means cluster of every point, best of 5 restarts."""
    sklearn = require_sklearn()
    kmeans = sklearn.cluster.KMeans(
        num_buckets,
        init="random",  # as the published pipeline starts
        n_init=KMEANS_RESTARTS,
        max_iter=KMEANS_ITERATIONS,
        tol=0,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Fewer different texts than buckets leave buckets empty, which the histograms allow.
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        labels: NDArray[np.int64] = kmeans.fit_predict(points)
    return labels


def _check_features(p_ND: NDArray[Any], q_ND: NDArray[Any]) -> None:
    if p_ND.ndim != 2 or p_ND.shape != q_ND.shape:
        raise ValueError(
            f"both sides need features [N, D] of one shape, got {p_ND.shape} and {q_ND.shape}"
        )
    for each_ND in (p_ND, q_ND):
        if not (np.isfinite(each_ND).all() and each_ND.any(axis=1).all()):
            raise ValueError("features must be finite, and no text's may be all 0")


def _resampled(
    p_SN: NDArray[np.int64],
    q_SN: NDArray[np.int64],
    num_buckets: int,
    scaling: float,
    times_RN: NDArray[np.float64],
) -> NDArray[np.float64]:
    """MAUVE of each draw of texts in the buckets that all texts gave, mean over seeds, [R].

    S k-means seeds. A text of one side is drawn together with that of the other side.
    """
    weights_W11 = np.linspace(SMALLEST_WEIGHT, 1 - SMALLEST_WEIGHT, NUM_WEIGHTS)[:, None, None]
    total_R = np.zeros(len(times_RN))
    for p_N, q_N in zip(p_SN, q_SN, strict=True):
        p_RK, q_RK = (times_RN @ np.eye(num_buckets)[side] / len(side) for side in (p_N, q_N))
        mixed_WRK = weights_W11 * p_RK + (1 - weights_W11) * q_RK
        x_WR, y_WR = (
            np.exp(-scaling * special.rel_entr(side_RK, mixed_WRK).sum(axis=-1))
            for side_RK in (q_RK, p_RK)
        )
        ends = np.zeros((1, len(times_RN)))
        x = np.concatenate([ends + 1, x_WR, ends])
        y = np.concatenate([ends, y_WR, ends + 1])
        total_R += np.trapezoid(y[::-1], x[::-1], axis=0)
    return total_R / len(p_SN)


def mauve(
    p_ND: NDArray[np.floating[Any]],
    q_ND: NDArray[np.floating[Any]],
    *,
    num_buckets: int | None = None,
    scaling: float = 5.0,
    variance: float = 0.9,
    seeds: int = 5,
    base_seed: int,
    resamples: int = 0,
) -> Mauve:
    """MAUVE of human features `p_ND` and machine features `q_ND` (definitions, section 2.7).

    Features scaled to length 1, PCA that keeps a share `variance`, k-means of both sides
    together, `mauve_from_histograms` of the sides' shares of the buckets; averaged over k-means
    seeds `base_seed`, `base_seed` + 1, ... `num_buckets` is max(2, round(N / 10)) by default. The
    PCA takes the fewest axes that keep more than `variance`.

    With `resamples`, text n of both sides belongs together (one context), and `resampled_R` has
    the values of so many bootstrap draws of pairs (seed `base_seed`). The buckets stay those of
    all texts, so their own noise is in `spread`, not in these; move the draws' mean onto the
    value for an interval (`intervals.percentiles_around`).

    Undefined for fewer than 20 texts a side and where all features are equal. Below 1,000 texts a
    side it is a `small_sample`: too high, and noisy.

    Raises:
        InputError: fewer texts a side than buckets or fewer than 2 buckets; scikit-learn is
            missing.
        ValueError: sides of different shape, features that are not finite or all 0 for a text,
            a variance outside (0, 1), or no seed.
    """
    _check_features(p_ND, q_ND)
    if not 0 < variance < 1 or seeds < 1:
        raise ValueError(f"0 < variance < 1 and seeds >= 1 needed, got {variance} and {seeds}")
    n = len(p_ND)
    if num_buckets is not None and not 2 <= num_buckets <= n:
        raise InputError(
            f"MAUVE was asked for {num_buckets} buckets with {n} texts a side",
            needed=f"2 buckets or more, and as many texts as buckets: at most {n}",
            hint=f"leave it out for one bucket in {TEXTS_PER_BUCKET} texts",
        )
    reason = None
    if n < FEWEST_TEXTS:
        reason = f"{n} texts a side, at least {FEWEST_TEXTS} are needed"
    elif (np.concatenate([p_ND, q_ND]) == p_ND[0]).all():
        reason = "all texts have the same features"
    if reason:
        return Mauve(None, (), None, None, None, n, True, reason)

    count = num_buckets or max(2, round(n / TEXTS_PER_BUCKET))
    points = _reduced(p_ND, q_ND, variance)
    values, sides = [], []
    for seed in range(base_seed, base_seed + seeds):
        bucket = _buckets(points, count, seed)
        sides.append((bucket[:n], bucket[n:]))
        p_K, q_K = (np.bincount(side, minlength=count) for side in sides[-1])
        values.append(mauve_from_histograms(p_K, q_K, scaling=scaling))
    spread = float(np.std(values, ddof=1)) if seeds > 1 else None
    mean = float(np.mean(values))
    resampled_R = None
    if resamples:
        rng = np.random.default_rng(base_seed)
        times_RN = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
        p_SN, q_SN = (np.stack(each) for each in zip(*sides, strict=True))
        resampled_R = _resampled(p_SN, q_SN, count, scaling, times_RN)
    return Mauve(
        mean, tuple(values), spread, count, points.shape[1], n, n < FEW_TEXTS, None, resampled_R
    )
