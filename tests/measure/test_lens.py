"""Where a word passes for good, against a loop."""

import numpy as np
import pytest

from hyperfitting.measure.lens import layer_of_passing


def by_hand(is_above):
    for layer in range(len(is_above) + 1):
        if all(is_above[layer:]):
            return layer
    return None


def test_it_is_what_a_loop_finds():
    is_above_LP = np.random.default_rng(0).random((5, 40)) < 0.6
    found = [by_hand(column) for column in is_above_LP.T.tolist()]
    assert layer_of_passing(is_above_LP).tolist() == found
    assert set(found) == set(range(6))


def test_a_word_that_falls_back_has_not_passed():
    column = np.array([[True], [True], [False], [True]])
    assert layer_of_passing(column).tolist() == [3]
    assert layer_of_passing(~column).tolist() == [4]


def test_no_layers_are_refused():
    with pytest.raises(ValueError, match="one layer"):
        layer_of_passing(np.zeros((0, 3), bool))
