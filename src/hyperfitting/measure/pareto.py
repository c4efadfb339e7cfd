"""Which points are on the Pareto front of two or more qualities, and which are told from it.

Shape letters: N points, D qualities, of which more is better. NaN is undefined.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperfitting.measure.intervals import Bounded

Values = NDArray[np.float64]


class Standing(NamedTuple):
    """Where a point stands.

    `best` is the place of the point that dominates it most clearly, None on the front. `beaten`
    is the same among those that the intervals tell from it, None where there is none.
    """

    best: int | None
    beaten: int | None

    @property
    def is_on_front(self) -> bool:
        """Whether no point dominates it."""
        return self.best is None


def dominated(points_ND: Values) -> NDArray[np.bool_]:
    """Whether point i dominates point j, [N, N].

    It does where it is at least as good in every quality and better in one. Equal points do not
    dominate each other; a point with an undefined quality dominates none and is dominated by none.
    """
    at_least_NN = (points_ND[:, None] >= points_ND[None]).all(axis=-1)
    better_NN = (points_ND[:, None] > points_ND[None]).any(axis=-1)
    return np.asarray(at_least_NN & better_NN)


def told_apart(low_ND: Values, high_ND: Values) -> NDArray[np.bool_]:
    """Whether the interval of point i lies wholly above that of j in one quality, [N, N].

    Intervals that touch overlap, and a quality without an interval tells no points apart.
    """
    return np.asarray((low_ND[:, None] > high_ND[None]).any(axis=-1))


def standings(points_ND: Values, low_ND: Values, high_ND: Values) -> Sequence[Standing | None]:
    """Where each point stands among the others; None of a point with an undefined quality.

    A dominating point does so the more clearly the more points it is ahead by in the quality in
    which it is ahead by fewest; then in all together; then the earlier. Places and not values are
    counted, so that no scale of a quality weighs more.

    Raises:
        ValueError: arrays of different shapes.
    """
    if not points_ND.shape == low_ND.shape == high_ND.shape or points_ND.ndim != 2:
        raise ValueError(f"one shape [N, D] needed: {points_ND.shape}, {low_ND.shape}, "
                         f"{high_ND.shape}")  # fmt: skip
    is_defined_N = np.asarray(~np.isnan(points_ND).any(axis=1))
    by_mean_NN = dominated(points_ND)
    beyond_noise_NN = by_mean_NN & told_apart(low_ND, high_ND)
    ranks_ND = np.full(points_ND.shape, np.nan)
    if is_defined_N.any():
        ranks_ND[is_defined_N] = stats.rankdata(points_ND[is_defined_N], method="dense", axis=0)
    found: list[Standing | None] = []
    for j in range(len(points_ND)):
        above = (by_mean_NN[:, j], beyond_noise_NN[:, j])
        best, beaten = (_clearest(each_N, ranks_ND, j) for each_N in above)
        found.append(Standing(best, beaten) if is_defined_N[j] else None)
    return found


def up_to(most: float | None, value: Bounded) -> Bounded:
    """A value that counts only up to `most`, its interval with it; None: all of it counts."""
    if most is None:
        return value
    low, high = (None if end is None else min(most, end) for end in (value.low, value.high))
    return Bounded(min(most, value.value), low, high)


def nearness(target: float, value: Bounded) -> Bounded:
    """Minus the distance of a value from `target`, and the interval that this has.

    The target counts as known: its own interval is in neither end.
    """
    if value.low is None or value.high is None:
        return Bounded(-abs(value.value - target), None, None)
    ends = (-abs(value.low - target), -abs(value.high - target))
    highest = 0.0 if value.low <= target <= value.high else max(ends)
    return Bounded(-abs(value.value - target), min(ends), highest)


def _clearest(above_N: NDArray[np.bool_], ranks_ND: Values, of: int) -> int | None:
    """The place of the point that is most clearly ahead among those `above`."""
    ahead_ND = ranks_ND - ranks_ND[of]
    found = np.flatnonzero(above_N)
    if not len(found):
        return None
    return int(max(found, key=lambda i: (ahead_ND[i].min(), ahead_ND[i].sum(), -i)))
