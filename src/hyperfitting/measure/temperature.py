"""The temperature at which one model is as sharp as another (definitions, section 4.2).

Everything works on x = ln tau. With y = z / tau and p = softmax(y) the entropy H has the slopes
dH/dx = Var(y) and d2H/dx2 = -(2 Var(y) + third central moment of y), all under p. (The first is
dH/dtau = Var(z) / tau^3.) So H never falls as tau rises, and one pass over the logits gives the
value and the slopes.

Shape letters: P positions, K positions of one context, V vocabulary, G grid points.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import BPoly
from torch import Tensor

from hyperfitting.measure.entropy import chunks

TOLERANCE_NATS = 1e-4  # definitions, section 4.2
# Largest distance in ln tau between the grid points of `EntropyCurve`. Measured error of the mean
# entropy at 0.19: 4e-6 nats on a small language model, 5e-5 on a few very peaked positions.
SPACING = 0.19
# More steps than 64 bisections are never needed: the bracket is then as narrow as a float64.
MOST_STEPS = 100
# Where exp is 2e-35, nothing beside the largest term of 1, and still a normal float32 after any
# product below: smaller ones are four times slower, and masked logits (-inf) would make NaN.
LOWEST = -80.0

Curve = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]


class Match(NamedTuple):
    """One solved temperature.

    tau: positive, divides the logits; below 1 sharpens.
    residual: entropy at tau minus the target, in nats.
    is_solved: whether |residual| is within the tolerance. If not, tau is the nearer end.
    """

    tau: float
    residual: float
    is_solved: bool


class Matches(NamedTuple):
    """One solved temperature per position, [P] each; fields as in `Match`."""

    tau: NDArray[np.float64]
    residual: NDArray[np.float64]
    is_solved: NDArray[np.bool_]


def entropy_at(logits_PV: Tensor, tau: float) -> Tensor:
    """Entropy of softmax(logits / tau) at each position, [P], float64, in nats, in [0, ln V].

    Float32 logits (definitions, section 4.2). It never falls as tau rises.

    Raises:
        ValueError: a tau that is not positive and finite.
    """
    if not 0 < tau < np.inf:
        raise ValueError(f"a temperature must be positive and finite, got {tau}")
    return _moments(logits_PV, torch.full((len(logits_PV),), tau), order=0)[0]


def match_temperature(
    logits_KV: Tensor,
    target: float,
    *,
    tolerance: float = TOLERANCE_NATS,
    low: float = 0.05,
    high: float = 20.0,
    start: float = 1.0,
) -> Match:
    """One tau in [low, high] at which the mean entropy over the K positions is `target` nats.

    Definitions, section 4.2, per context (the paper's "a scalar for each context"). If no tau in
    the interval reaches the target, tau is the nearer end and `is_solved` is False. About five
    passes over the logits; fewer from a `start` that is near, which the answer does not depend on
    beyond the tolerance.

    Raises:
        ValueError: no positions, a target that is not finite, or an interval that is not
            0 < low < high.
    """
    if len(logits_KV) == 0:
        raise ValueError("match_temperature needs at least one position")

    def curve(x_1: NDArray[np.float64], _: NDArray[np.int64]) -> NDArray[np.float64]:
        tau_K = torch.full((len(logits_KV),), float(np.exp(x_1[0])))
        return _moments(logits_KV, tau_K, order=1).mean(dim=1, keepdim=True).cpu().numpy()

    return _single(_solve(curve, np.array([target]), tolerance, low, high, start))


def match_temperature_per_position(
    logits_PV: Tensor,
    target_P: NDArray[np.float64],
    *,
    tolerance: float = TOLERANCE_NATS,
    low: float = 0.05,
    high: float = 20.0,
    start: float = 1.0,
) -> Matches:
    """A tau for each position at which its entropy is its target, [P] each.

    Definitions, section 4.2, the variant per step. Positions that are solved leave the work.
    `start` as in `match_temperature`.

    Raises:
        ValueError: as `match_temperature`, or targets that are not [P].
    """
    if target_P.shape != (len(logits_PV),):
        raise ValueError(
            f"one target per position is needed: got targets {target_P.shape} "
            f"for {len(logits_PV)} positions"
        )

    def curve(x_A: NDArray[np.float64], active_A: NDArray[np.int64]) -> NDArray[np.float64]:
        rows = torch.from_numpy(active_A)
        return _moments(logits_PV, torch.from_numpy(np.exp(x_A)), order=1, rows=rows).cpu().numpy()

    return _solve(curve, target_P, tolerance, low, high, start)


class EntropyCurve:
    """Mean entropy over contexts as a function of tau, collected as contexts stream by.

    For one tau over all contexts (definitions, section 4.2, global) without holding all logits:
    each context adds its entropy and the first two slopes at G points, evenly spaced in ln tau
    from `low` to `high`. Between them the mean curve is the quintic with these values and slopes
    (Hermite); its error falls with the sixth power of the spacing. A context costs G passes over
    its logits: 33 for [0.05, 20], 13 for [0.25, 2]. The tau sought lies between the smallest and
    the largest tau of single contexts, so a narrower interval is safe where these are known.
    """

    def __init__(self, *, low: float = 0.05, high: float = 20.0, spacing: float = SPACING) -> None:
        """Start an empty curve.

        Raises:
            ValueError: an interval that is not 0 < low < high, or a spacing not above 0.
        """
        _check_interval(low, high)
        if not spacing > 0:
            raise ValueError(f"the spacing of an entropy curve must be above 0, got {spacing}")
        self.low, self.high, self.contexts = low, high, 0
        # An even number of cells: `interpolation_error` leaves out every second point.
        cells = 2 * int(np.ceil(np.log(high / low) / spacing / 2))
        self.grid_G = np.linspace(np.log(low), np.log(high), cells + 1)
        self._sum_3G = np.zeros((3, cells + 1))

    def add(self, logits_KV: Tensor) -> None:
        """Add one context, weighted as every other one, whatever its number of positions.

        Raises:
            ValueError: no positions.
        """
        if len(logits_KV) == 0:
            raise ValueError("an entropy curve needs at least one position per context")
        for chunk in chunks(logits_KV, len(logits_KV)):
            shifted = _shifted(logits_KV[chunk])
            for point, x in enumerate(self.grid_G):
                tau_C = torch.full((len(shifted),), float(np.exp(x)), device=shifted.device)
                total_3 = _chunk_moments(shifted, tau_C, order=2).sum(dim=1)
                self._sum_3G[:, point] += total_3.cpu().numpy() / len(logits_KV)
        self.contexts += 1

    def solve(self, mean_target: float, *, tolerance: float = TOLERANCE_NATS) -> Match:
        """The tau at which the curve is `mean_target` nats: the mean of the contexts' targets.

        `residual` is that of the interpolated curve. `is_solved` also needs the estimated error
        of the interpolation to lie within the tolerance.

        Raises:
            ValueError: no contexts, or a target that is not finite.
        """
        quintic = self._quintic(1)
        slope = quintic.derivative()

        def curve(x_1: NDArray[np.float64], _: NDArray[np.int64]) -> NDArray[np.float64]:
            return np.stack([quintic(x_1), slope(x_1)])

        match = _single(
            _solve(curve, np.array([mean_target]), tolerance / 100, self.low, self.high)
        )
        return match._replace(
            is_solved=match.is_solved and self.interpolation_error(match.tau) <= tolerance
        )

    def interpolation_error(self, tau: float) -> float:
        """Estimated error of the curve's entropy near tau, in nats, >= 0.

        The largest difference from the curve through every second point, within one of its
        cells, divided by 2^6: what halving the spacing gains.

        Raises:
            ValueError: no contexts.
        """
        width = 2 * (self.grid_G[1] - self.grid_G[0])
        near = np.clip(
            np.log(tau) + width * np.linspace(-1, 1, 33), self.grid_G[0], self.grid_G[-1]
        )
        return float(np.abs(self._quintic(1)(near) - self._quintic(2)(near)).max() / 2**6)

    def _quintic(self, stride: int) -> BPoly:
        if self.contexts == 0:
            raise ValueError("an entropy curve without contexts has no temperature")
        mean_3G = self._sum_3G / self.contexts
        return BPoly.from_derivatives(self.grid_G[::stride], mean_3G[:, ::stride].T)


def _moments(logits_PV: Tensor, tau_R: Tensor, *, order: int, rows: Tensor | None = None) -> Tensor:
    """Entropy and its first `order` slopes in ln tau, float64 [order + 1, R].

    `rows` [R] are the positions worked on, by default all of them.
    """
    tau_R = tau_R.to(logits_PV.device, torch.float32)
    found = []
    for chunk in chunks(logits_PV, len(tau_R)):
        part = logits_PV[chunk if rows is None else rows[chunk].to(logits_PV.device)]
        found.append(_chunk_moments(_shifted(part), tau_R[chunk], order=order))
    return torch.cat(found, dim=1) if found else torch.empty(order + 1, 0, dtype=torch.float64)


def _shifted(logits_CV: Tensor) -> Tensor:
    """Float32 logits minus the largest of their row."""
    logits_CV = logits_CV.float()
    return logits_CV - logits_CV.amax(dim=-1, keepdim=True)


def _chunk_moments(shifted_CV: Tensor, tau_C: Tensor, *, order: int) -> Tensor:
    """Entropy and slopes of one chunk, [order + 1, C]; float32 products, float64 from the sums."""
    y = (shifted_CV / tau_C[:, None]).clamp_(min=LOWEST)
    weighted = y.exp()
    sums = [weighted.sum(dim=-1).double()]
    for _ in range(order + 1):  # weighted by y, y^2, y^3 in turn
        sums.append(weighted.mul_(y).sum(dim=-1).double())
    mean, *higher = [total / sums[0] for total in sums[1:]]
    columns = [sums[0].log() - mean]
    if order > 0:
        variance = higher[0] - mean**2
        columns.append(variance)
    if order > 1:
        third = higher[1] - 3 * mean * higher[0] + 2 * mean**3
        columns.append(-(2 * variance + third))
    return torch.stack(columns)


def _check_interval(low: float, high: float) -> None:
    if not 0 < low < high < np.inf:
        raise ValueError(f"temperatures need 0 < low < high, got {low} and {high}")


def _single(matches: Matches) -> Match:
    return Match(float(matches.tau[0]), float(matches.residual[0]), bool(matches.is_solved[0]))


def _solve(
    curve: Curve,
    target_P: NDArray[np.float64],
    tolerance: float,
    low: float,
    high: float,
    start: float = 1.0,
) -> Matches:
    """Roots of curve(x) = target for curves that never fall, by Newton steps inside a bracket.

    `curve(x_A, active_A)` gives values and slopes, [2, A], of the active problems. A step that
    leaves the bracket goes to its end if the curve is not yet known there, else to the middle.
    """
    _check_interval(low, high)
    if not np.isfinite(target_P).all():
        raise ValueError(f"temperatures need finite target entropies, got {target_P}")
    ends = np.log(low), np.log(high)
    left, right = np.full(target_P.shape, ends[0]), np.full(target_P.shape, ends[1])
    left_known, right_known = np.zeros(target_P.shape, bool), np.zeros(target_P.shape, bool)
    x = np.clip(np.full(target_P.shape, np.log(start)), *ends)
    residual = np.full(target_P.shape, np.nan)
    active = np.arange(len(target_P))
    for _ in range(MOST_STEPS):
        value, slope = curve(x[active], active)
        gap = value - target_P[active]
        residual[active] = gap
        above, below = gap > tolerance, gap < -tolerance
        beyond = (above & (x[active] <= ends[0])) | (below & (x[active] >= ends[1]))
        going = (above | below) & ~beyond
        active, above, below = active[going], above[going], below[going]
        if active.size == 0:
            break
        here = x[active]
        right[active[above]], right_known[active[above]] = here[above], True
        left[active[below]], left_known[active[below]] = here[below], True
        with np.errstate(divide="ignore"):
            step = here - gap[going] / slope[going].clip(min=0)
        middle = (left[active] + right[active]) / 2
        step = np.where(
            step <= left[active], np.where(left_known[active], middle, left[active]), step
        )
        step = np.where(
            step >= right[active], np.where(right_known[active], middle, right[active]), step
        )
        x[active] = step
    tau = np.where(np.isnan(residual), np.nan, np.exp(x))  # NaN among the logits
    return Matches(tau, residual, np.abs(residual) <= tolerance)
