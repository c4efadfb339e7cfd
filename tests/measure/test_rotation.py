"""Splits of planted changes, against numpy's decomposition."""

import numpy as np
import pytest
import torch

from hyperfitting.measure.rotation import NO_SPLIT, Decomposed, split_change

SHAPES = [(6, 9), (9, 6), (5, 5)]


def matrix(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_split_is_that_of_numpys_basis(shape):
    before, change = matrix(shape), 0.1 * matrix(shape, 1)
    found = split_change(Decomposed.of(before), change)
    left, _, right = np.linalg.svd(before.numpy())
    turned = left.T @ change.numpy() @ right.T
    assert found.values == pytest.approx((np.diagonal(turned) ** 2).sum())
    assert found.change == pytest.approx((turned**2).sum())
    assert found.size == pytest.approx((before.numpy() ** 2).sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_planted_values_and_planted_turns(shape):
    before = matrix(shape)
    one = Decomposed.of(before)
    scaled = one.with_values(one.values_S * 1.1)
    only_values = split_change(one, scaled - before)
    assert only_values.values == pytest.approx(only_values.change)
    twist = matrix((shape[0], shape[0]), 2) * 1e-4
    turned = torch.linalg.matrix_exp(twist - twist.T) @ before  # singular values stay
    assert Decomposed.of(turned).values_S.numpy() == pytest.approx(one.values_S.numpy())
    only_turned = split_change(one, turned - before)
    assert only_turned.values < 1e-4 * only_turned.change


def test_a_random_direction_has_the_share_of_chance():
    one = Decomposed.of(matrix((20, 30)))
    total = NO_SPLIT
    for seed in range(300):
        total = total.plus(split_change(one, matrix((20, 30), seed + 10)))
    assert total.values / total.change == pytest.approx(1 / 30, rel=0.05)
    assert total.values_by_chance == pytest.approx(total.change / 30)


def test_own_values_and_own_vectors_are_the_matrix():
    weight = matrix((7, 4))
    one = Decomposed.of(weight)
    assert torch.allclose(one.with_values(one.values_S), weight)
    assert Decomposed.of(weight.half()).values_S.dtype == torch.float32
