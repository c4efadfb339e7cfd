"""How far two loss curves go together (definitions, section 7.7). Pure; E epochs in order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ROUNDING = 1e-9  # of a difference of two logarithms
FEWEST_EPOCHS = 4  # three steps; of two the correlation is always 1 or -1


class Together(NamedTuple):
    """Two loss curves beside each other, over the epochs that both have.

    `correlation` is Pearson's, in [-1, 1], of their epoch-to-epoch changes in ln(loss): 1 where
    both fall, stall and spike in the same epochs by the same factors, near 0 where a spike of one
    is none of the other. It is None where a curve is too short or never changes its pace.
    `largest_gap` is the largest |ln(a / b)|, at `gap_epoch` (from 1).
    """

    correlation: float | None
    largest_gap: float
    gap_epoch: int
    epochs: int


def together(a_E: Sequence[float], b_E: Sequence[float]) -> Together | None:
    """How synchronised two loss curves are; None without a common epoch or at a loss of 0.

    Definitions, section 7.7 (paper, appendices B to F, which say it in words only).
    """
    count = min(len(a_E), len(b_E))
    if not count or min(*a_E[:count], *b_E[:count]) <= 0:
        return None
    log_a_E, log_b_E = np.log(a_E[:count]), np.log(b_E[:count])
    gap_E = np.abs(log_a_E - log_b_E)
    steps_a, steps_b = np.diff(log_a_E), np.diff(log_b_E)
    correlation = None
    if count >= FEWEST_EPOCHS and min(steps_a.std(), steps_b.std()) > ROUNDING:
        correlation = float(np.corrcoef(steps_a, steps_b)[0, 1])
    widest = int(gap_E.argmax())
    return Together(correlation, float(gap_E[widest]), widest + 1, count)
