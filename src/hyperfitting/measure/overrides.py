"""Where a tuned model overrides its original's choice, by how sure the original is. Pure.

Shape letters: N contexts, K positions, Q parts of equal size.
"""

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def part_of(values_NK: Floats, parts: int) -> Counts:
    """Which part of equal size each value lies in, from 0, the lowest; -1 where it is NaN.

    Equal values are in one part, so that parts of many equal values are of unequal size.

    Raises:
        ValueError: fewer than two parts, or no value that is defined.
    """
    defined = values_NK[~np.isnan(values_NK)]
    if parts < 2 or not len(defined):
        raise ValueError(f"needs two parts and a value, got {parts} and {len(defined)}")
    edges = np.quantile(defined, np.arange(1, parts) / parts)
    found: Counts = np.searchsorted(edges, values_NK, side="right").astype(np.int64)
    return np.where(np.isnan(values_NK), -1, found)


def sums_by_part(values_NK: Floats, part_NK: Counts, parts: int) -> tuple[Floats, Floats]:
    """Sum and number of the values of each context in each part, both [N, Q]."""
    is_in_NKQ = part_NK[..., None] == np.arange(parts)
    sum_NQ = np.where(is_in_NKQ, values_NK[..., None], 0.0).sum(axis=1)
    return sum_NQ, is_in_NKQ.sum(axis=1).astype(float)
