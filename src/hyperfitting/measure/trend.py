"""Does the last layer stand out from the trend of the layers before it?

Shape letters: L + 1 layers from 0, R draws of contexts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hyperfitting.measure.gain import fewest_contexts
from hyperfitting.measure.intervals import Bounded, percentiles_around
from hyperfitting.measure.participation import Numbers

NO_LAYER = "no layer differs"
ONLY_LAST = "only the last layer differs"
ONE_BLOCK = "the model has one block"
FEW_CONTEXTS = "there are too few contexts"


class Trend(NamedTuple):
    """Growth of a value from layer to layer, from the first layer at which it can grow.

    `steps` are those to the layers `first`..L. `last_minus_others` is the last step minus the
    mean of the others, and `reason` says why there is none.
    """

    first: int
    steps: tuple[Bounded, ...]
    last_minus_others: Bounded | None
    reason: str | None

    @property
    def growing(self) -> int:
        """Steps whose whole interval lies above 0."""
        return sum(step.low is not None and step.low > 0 for step in self.steps)

    @property
    def largest(self) -> int:
        """The layer to which the largest step leads."""
        values = [step.value for step in self.steps]
        return self.first + values.index(max(values))


def trend(
    values: Sequence[float | None],
    draws: Sequence[Numbers],
    *,
    first_different: int | None,
    contexts: int,
    confidence: float,
) -> Trend:
    """Steps between layers, and the last one against the mean of the others.

    Args:
        values: one per layer, 0 to L.
        draws: of each layer, [R], from the same contexts in every layer.
        first_different: the first layer at which both models' states differ, None where none
            does. Below it the value is 0 by construction, which is no trend to stand out from:
            the first step counted is the one to this layer.
        contexts: how many there are; a few have no interval to rely on.
        confidence: of the intervals, in (0, 1).

    Raises:
        ValueError: different numbers of layers, or fewer than two.
    """
    if len(values) != len(draws) or len(values) < 2:
        raise ValueError(f"values of at least two layers needed, got {len(values)}, {len(draws)}")
    last = len(values) - 1
    if first_different is None:
        return Trend(last, (), None, NO_LAYER)
    first = max(1, first_different)
    known = [value for value in values[first - 1 :] if value is not None]
    if len(known) < last - first + 2:
        return Trend(first, (), None, "undefined at a layer")
    steps = np.diff(known)
    step_draws = np.diff(np.stack(draws[first - 1 :]), axis=0)

    def estimate(value: float, draws_R: Numbers) -> Bounded:
        if contexts < fewest_contexts(confidence):
            return Bounded(value, None, None)
        return Bounded(value, *percentiles_around(value, draws_R, confidence))

    estimates = tuple(estimate(float(v), d) for v, d in zip(steps, step_draws, strict=True))
    if len(steps) < 2:
        return Trend(first, estimates, None, ONE_BLOCK if last == 1 else ONLY_LAST)
    others = estimate(
        float(steps[-1] - steps[:-1].mean()), step_draws[-1] - step_draws[:-1].mean(axis=0)
    )
    reason = FEW_CONTEXTS if others.low is None else None
    return Trend(first, estimates, others, reason)
