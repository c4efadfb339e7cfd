"""Parts of equal size against a sort, sums against a loop."""

import numpy as np
import pytest

from hyperfitting.measure.overrides import part_of, sums_by_part


def test_parts_are_those_of_a_sort():
    values_NK = np.random.default_rng(0).normal(size=(6, 10))
    part_NK = part_of(values_NK, 5)
    order = np.argsort(values_NK.ravel())
    by_hand = np.empty(60, dtype=int)
    for place, index in enumerate(order):
        by_hand[index] = place * 5 // 60
    assert part_NK.ravel().tolist() == by_hand.tolist()


def test_equal_values_share_a_part_and_nan_has_none():
    values_NK = np.array([[0.0, 0.0, 0.0, 0.0, 0.0, np.nan, 1.0, 2.0]])
    part_NK = part_of(values_NK, 5)
    assert part_NK[0, 5] == -1
    assert len(set(part_NK[0, :5])) == 1
    assert part_NK[0, 7] == 4


@pytest.mark.parametrize("values", [[[np.nan]], [[1.0]]])
def test_nothing_to_part_is_refused(values):
    with pytest.raises(ValueError, match="needs two parts"):
        part_of(np.array(values), 1 if values == [[1.0]] else 5)


def test_sums_are_those_of_a_loop():
    rng = np.random.default_rng(1)
    values_NK, part_NK = rng.normal(size=(4, 7)), rng.integers(-1, 3, size=(4, 7))
    sum_NQ, count_NQ = sums_by_part(values_NK, part_NK, 3)
    for n in range(4):
        for q in range(3):
            inside = [values_NK[n, k] for k in range(7) if part_NK[n, k] == q]
            assert sum_NQ[n, q] == pytest.approx(sum(inside))
            assert count_NQ[n, q] == len(inside)
