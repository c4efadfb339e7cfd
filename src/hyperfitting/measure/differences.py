"""How sure a difference of two means is, over contexts and over trainings.

Contexts and trainings are both a draw from many. Another draw of contexts would move the
difference, and so would another training of each model. With few trainings a bootstrap cannot
show the second part: of S values it spreads like S - 1 of S, and knows no tails. So both parts are
taken as variances with t quantiles of their own (decision 0020).

Shape letters: S trainings, N contexts.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]
SMALLEST_P = 1e-12  # a smaller one says nothing about real data
ROUNDING = 1e-12  # differences this small are the rounding of a mean, in any unit of ours


class Difference(NamedTuple):
    """A difference of means, and the variances that other contexts and other trainings bring.

    `by_trainings` is 0 where the trainings are given: then everything is about these models.
    """

    value: float
    by_contexts: float
    by_trainings: float
    degrees_contexts: float
    degrees_trainings: float

    @property
    def has_spread(self) -> bool:
        """Whether anything varies, beyond the rounding of a mean."""
        return self.by_contexts + self.by_trainings > ROUNDING**2

    def half_width(self, level: float) -> float:
        """Half the width of the two-sided interval that errs with probability `level`, at least 0.

        The t half-widths of both parts, added as squares (Howe 1974).
        """
        of_contexts = stats.t.isf(level / 2, self.degrees_contexts) ** 2 * self.by_contexts
        if not self.by_trainings:
            return float(np.sqrt(of_contexts))
        of_trainings = stats.t.isf(level / 2, self.degrees_trainings) ** 2 * self.by_trainings
        return float(np.sqrt(of_contexts + of_trainings))

    def interval(self, confidence: float) -> tuple[float, float]:
        """The interval of the difference."""
        half = self.half_width(1 - confidence)
        return self.value - half, self.value + half

    def p(self) -> float | None:
        """Two-sided p of "no difference", in [0, 1]: the level whose interval ends at 0.

        None for a difference without any spread, which no t test can judge.
        """
        if not self.has_spread:
            return 1.0 if abs(self.value) < ROUNDING else None
        return self._level_reaching(abs(self.value))

    def equivalence_p(self, margin: float) -> float:
        """The p of the claim that the difference lies inside +-margin, in [0, 1].

        Two one-sided tests (Schuirmann 1987; definitions, 1.5): the larger p of "above -margin" and
        "below margin". Below .05 exactly where the 90 % interval lies inside the margin. Without
        any spread 0 strictly inside the margin, otherwise 1.

        Raises:
            ValueError: a margin that is not above 0.
        """
        if not margin > 0:
            raise ValueError(f"an equivalence test needs a margin above 0, got {margin}")
        room = margin - abs(self.value)  # to the nearer end: the other test's p is smaller
        if not self.has_spread:
            return 0.0 if room > 0 else 1.0
        one_sided = self._level_reaching(abs(room)) / 2
        return one_sided if room > 0 else 1 - one_sided

    def _level_reaching(self, distance: float) -> float:
        """The level at which half the interval's width is `distance`."""
        if distance == 0:
            return 1.0
        if not self.by_trainings:  # the t test
            error = np.sqrt(self.by_contexts)
            return float(2 * stats.t.sf(distance / error, self.degrees_contexts))
        if self.half_width(SMALLEST_P) <= distance:
            return SMALLEST_P
        found = optimize.brentq(
            lambda log_level: self.half_width(float(np.exp(log_level))) - distance,
            np.log(SMALLEST_P), 0.0, xtol=1e-10,
        )  # fmt: skip
        return float(np.exp(found))


def difference_over_contexts(difference_N: Floats) -> Difference:
    """The mean of paired differences of two given models; only contexts vary.

    Raises:
        ValueError: fewer than two differences, or one that is not finite.
    """
    if len(difference_N) < 2 or not np.isfinite(difference_N).all():
        raise ValueError(f"at least 2 finite differences are needed, got {difference_N}")
    return Difference(
        float(difference_N.mean()), _of_mean(difference_N), 0.0, len(difference_N) - 1, np.inf
    )


def difference_over_trainings(a_SN: Floats, b_SN: Floats | None = None) -> Difference:
    """Mean of `a_SN`, minus that of `b_SN` where it is given; contexts and trainings vary.

    Of one arm: give differences to what stays the same, or belongs to the same training. Two arms
    share the contexts, and their trainings are independent; they may be of different number.
    The part of contexts is that of the means over trainings; the part of trainings that of the
    means over contexts, with Welch's degrees of freedom for two arms. What varies with both is in
    both parts, so the interval is rather too wide than too narrow.

    Raises:
        ValueError: values that are not [S, N] with S and N of at least 2, or not finite.
    """
    arms = [a_SN] if b_SN is None else [a_SN, b_SN]
    for values_SN in arms:
        if values_SN.ndim != 2 or min(values_SN.shape) < 2 or not np.isfinite(values_SN).all():
            raise ValueError(
                f"finite values of at least 2 trainings and 2 contexts are needed, got shape "
                f"{values_SN.shape}: {values_SN}"
            )
    difference_N = a_SN.mean(axis=0) - (0.0 if b_SN is None else b_SN.mean(axis=0))
    parts = np.array([_of_mean(values_SN.mean(axis=1)) for values_SN in arms])
    by_trainings = float(parts.sum())
    degrees = np.array([len(values_SN) - 1 for values_SN in arms])
    welch = float(by_trainings**2 / (parts**2 / degrees).sum()) if by_trainings else np.inf
    return Difference(
        float(difference_N.mean()), _of_mean(difference_N), by_trainings,
        difference_N.size - 1, welch,
    )  # fmt: skip


def _of_mean(values: Floats) -> float:
    """The variance of a mean."""
    return float(values.var(ddof=1) / len(values))
