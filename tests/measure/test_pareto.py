"""The Pareto front against its definition, and when a point may be called beaten."""

import numpy as np
import pytest

from hyperfitting.measure.intervals import Bounded
from hyperfitting.measure.pareto import dominated, nearness, standings, told_apart, up_to

NAN = float("nan")


def sure(points, width=0.0):
    """Standings of points whose intervals are so wide on either side."""
    points_ND = np.array(points, dtype=float).reshape(len(points), -1)
    return standings(points_ND, points_ND - width, points_ND + width)


def front(points, width=0.0):
    return [i for i, each in enumerate(sure(points, width)) if each and each.is_on_front]


def by_definition(points):
    """Points than which no other is as good in both and better in one, one by one."""
    found = []
    for i, (x, y) in enumerate(points):
        if np.isnan(x) or np.isnan(y):
            continue
        if not any(u >= x and v >= y and (u > x or v > y) for u, v in points):
            found.append(i)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 6, size=(25, 2)).astype(float)  # with ties and duplicates
    points[rng.random(points.shape) < 0.05] = NAN
    assert front(points) == by_definition(points)


@pytest.mark.parametrize("seed", range(5))
def test_every_other_point_is_dominated_by_the_one_named(seed):
    points = np.random.default_rng(seed).normal(size=(25, 2))
    for j, each in enumerate(sure(points)):
        if each.best is None:
            continue
        assert (points[each.best] > points[j]).all()
        assert sure(points)[each.best].is_on_front, "the clearest is not beaten itself"


def test_no_point_a_point_and_duplicates():
    assert standings(*[np.empty((0, 2))] * 3) == []
    assert front([(1, 2)]) == [0]
    assert front([(1, 2), (1, 2), (0, 2)]) == [0, 1]
    assert front([(3, 3)] * 3) == [0, 1, 2]


def test_a_tie_in_one_quality_does_not_save_a_point():
    assert front([(1, 2), (1, 1)]) == [0]
    assert front([(2, 1), (1, 1)]) == [0]


def test_a_planted_front():
    points = [(0.1, 9.0), (0.5, 7.0), (0.9, 1.0), (0.4, 6.9), (0.05, 8.0), (0.8, 0.5)]
    found = sure(points)
    assert front(points) == [0, 1, 2]
    assert [each.best for each in found[3:]] == [1, 0, 2]
    assert [each.beaten for each in found[3:]] == [1, 0, 2]


def test_the_clearest_is_ahead_most_where_it_is_ahead_least():
    points = [(1, 9), (5, 5), (9, 1), (0, 0)]
    assert sure(points)[3].best == 1


@pytest.mark.parametrize("change", [np.exp, lambda v: v**3, lambda v: 5 * v - 2])
def test_a_monotone_change_of_one_quality_changes_nothing(change):
    points = np.random.default_rng(3).normal(size=(30, 2))
    points[4] = points[5]
    low, high = points - 0.3, points + 0.3
    other = [each.copy() for each in (points, low, high)]
    for each in other:
        each[:, 1] = change(each[:, 1])
    assert standings(*other) == standings(points, low, high)


def test_the_order_of_the_points_does_not_matter():
    points = np.random.default_rng(4).normal(size=(20, 2))
    order = np.random.default_rng(5).permutation(20)
    assert {int(order[i]) for i in front(points[order])} == set(front(points))


def test_what_is_undefined_is_left_out_and_beats_nothing():
    points = [(NAN, 9), (9, NAN), (1, 1), (0, 0)]
    found = sure(points)
    assert found[:2] == [None, None]
    assert found[2].is_on_front
    assert found[3].best == 2
    assert sure([(NAN, NAN)]) == [None]


def test_within_the_intervals_a_point_is_not_beaten():
    points = [(0.50, 0.50), (0.49, 0.49)]
    assert sure(points, 0.1)[1] == (0, None)
    assert sure(points, 0.001)[1] == (0, 0)
    assert sure(points, NAN)[1] == (0, None), "no interval tells nothing apart"


def test_one_quality_is_enough_to_tell_apart_and_touching_is_not():
    low, high = np.array([[0.4, 0.8], [0.3, 0.2]]), np.array([[0.6, 0.9], [0.5, 0.3]])
    assert told_apart(low, high).tolist() == [[False, True], [False, False]]
    touching = np.array([[1.0, 1.0], [2.0, 2.0]])
    assert not told_apart(touching - 0.5, touching + 0.5).any()


def test_beaten_may_name_another_than_the_clearest():
    """The clearest has a wide interval; one behind it is sure."""
    points = np.array([(9.0, 9.0), (5.0, 5.0), (1.0, 1.0)])
    widths = np.array([[8.5, 8.5], [0.1, 0.1], [0.1, 0.1]])
    assert standings(points, points - widths, points + widths)[2] == (0, 1)


def test_a_point_told_apart_where_it_is_worse_is_not_ahead():
    assert not dominated(np.array([(1.0, 0.0), (0.0, 1.0)])).any()


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        standings(np.zeros((2, 2)), np.zeros((1, 2)), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((0.7, 0.6, 0.8), (0.7, 0.6, 0.75)),
        ((0.9, 0.8, 1.0), (0.75, 0.75, 0.75)),
        ((0.9, None, None), (0.75, None, None)),
    ],
)
def test_what_is_above_the_most_counts_no_more(value, expected):
    assert up_to(0.75, Bounded(*value)) == expected
    assert up_to(None, Bounded(*value)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((-3.0, -3.5, -2.5), (-1.0, -1.5, -0.5)),  # above the target
        ((-5.0, -5.5, -4.5), (-1.0, -1.5, -0.5)),  # as far below it
        ((-4.25, -4.5, -3.0), (-0.25, -1.0, 0.0)),  # the target is inside the interval
        ((-4.0, None, None), (0.0, None, None)),
    ],
)
def test_nearness_is_the_same_on_both_sides(value, expected):
    assert nearness(-4.0, Bounded(*value)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_of_a_nearness_holds_that_of_every_value_inside(seed):
    low, value, high, target = np.sort(np.random.default_rng(seed).normal(size=4))
    for aim in (low - 1, value, target):
        found = nearness(aim, Bounded(value, low, high))
        inside = [-abs(each - aim) for each in np.linspace(low, high, 1001)]
        assert found.low == pytest.approx(min(inside))
        assert found.high == pytest.approx(max(inside), abs=(high - low) / 1000)
        assert found.low <= found.value <= found.high
