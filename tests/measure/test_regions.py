"""Regions of layers as found from their intervals, and the sentences about them."""

import numpy as np
import pytest

from hyperfitting.measure.gain import Share
from hyperfitting.measure.intervals import Bounded
from hyperfitting.measure.regions import regions, regions_in_words
from hyperfitting.measure.trend import ONLY_LAST, Trend

JUMP = Share(3.71, 3.5, 3.92, None)
OUT = Trend(1, (), Bounded(18.1, 12.0, 24.0), None)
NOT_OUT = Trend(1, (), Bounded(4.0, -1.0, 9.0), None)


def near(*values, width=0.01):
    return [None if v is None else Bounded(v, v - width, v + width) for v in values]


def found(cosine, delta, rise=1.0, growth=OUT, first=1):
    return regions(near(*cosine), near(*delta), near(rise)[0], growth, first_different=first)


def test_the_three_regions_of_the_paper():
    cosine, delta = [1, 0.95, 0.9, 0.7, 0.9, 0.5], [0, 1, -1, -2, -3, 80]
    result = found(cosine, delta)
    assert result == ((0,), (0, 1, 2), (3, 4), 5)
    assert regions_in_words(result, JUMP, num_blocks=5, is_sure=True).splitlines() == [
        "Identical (the same states in both models): layer 0; identical below block 1 of 5.",
        "Stable (cosine at least 0.86 from layer 0 on): layers 0-2.",
        "Compression (later, delta_dim below 0): layers 3-4.",
        "Terminal (last layer: delta_dim above 0, l2 rising, a larger step than the others): "
        "layer 5.",
        "L2 distance at the last layer: 3.71 [3.50, 3.92] times that at the layer before.",
    ]


def test_a_bound_inside_the_interval_is_not_met():
    """Point values alone would place layers 1 and 3 in regions."""
    cosine = [*near(1.0), Bounded(0.87, 0.84, 0.9), *near(0.5, 0.5)]
    delta = [*near(0.0, 0.0, -2.0), Bounded(-0.2, -0.8, 0.5)]
    result = regions(cosine, delta, near(1.0)[0], OUT, first_different=0)
    assert result == ((), (0,), (2,), None)


@pytest.mark.parametrize(
    ("last", "rise", "growth"),
    [
        (Bounded(0.3, -0.3, 1.1), 1.0, OUT),
        (Bounded(-1.0, -2.0, -0.5), 1.0, OUT),
        (None, 1.0, OUT),
        (Bounded(3.0, None, None), 1.0, OUT),
        (Bounded(3.0, 2.0, 4.0), -1.0, OUT),
        (Bounded(3.0, 2.0, 4.0), 1.0, NOT_OUT),
    ],
)
def test_no_terminal_region_without_all_conditions(last, rise, growth):
    def terminal(last, rise, growth):
        delta = [*near(0.0, 0.0), last]
        found = regions(near(1, 1, 1), delta, near(rise)[0], growth, first_different=1)
        return found.terminal

    assert terminal(last, rise, growth) is None
    assert terminal(Bounded(3.0, 2.0, 4.0), 1.0, OUT) == 2
    only = Trend(2, near(3.0), None, ONLY_LAST)
    assert terminal(Bounded(3.0, 2.0, 4.0), 1.0, only) == 2, "nothing else differs at all"


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (None, "layers 0-2; what differs stands above the blocks, if anything does."),
        (0, "none."),
        (1, "layer 0; identical below block 1 of 2."),
        (2, "layers 0-1; identical below block 2 of 2."),
    ],
)
def test_where_models_are_identical_is_said(first, said):
    result = found([1, 1, 1], [0, 0, 0], first=first)
    assert result.identical == tuple(range(3 if first is None else first))
    text = regions_in_words(result, JUMP, num_blocks=2, is_sure=True)
    assert text.splitlines()[0] == f"Identical (the same states in both models): {said}"
    few = regions_in_words(result, JUMP, num_blocks=2, is_sure=False).splitlines()
    assert few[1:] == ["So few contexts have no interval to rely on: no other region is shown."]


def test_nothing_is_forced_on_the_data():
    result = found([0.5, 0.9, 0.9, 0.9], [-1, 2, -3, -1], growth=NOT_OUT, first=0)
    assert result == ((), (), (0, 2, 3), None)
    undefined = Share(None, None, None, "both models are equal before the last layer")
    words = regions_in_words(result, undefined, num_blocks=3, is_sure=True)
    assert "from layer 0 on): none." in words
    assert "layers 0, 2-3." in words
    assert "L2" not in words


def test_undefined_values_fulfil_no_condition():
    assert found([1, None, 1], [0, None, None]) == ((0,), (0,), (), None)


def test_regions_need_lists_of_one_length():
    with pytest.raises(ValueError, match="3, 2"):
        found([1, 1, 1], [0, 0])
    with pytest.raises(ValueError, match="1, 1"):
        found([1], [0])
    assert np.isfinite(JUMP.value)
