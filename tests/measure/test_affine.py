"""The fits of a temperature, a shift and both, against least squares by numpy."""

import numpy as np
import pytest
import torch

from hyperfitting.measure.affine import KINDS, AffineSums, centred, unexplained


def logits(positions=30, vocabulary=7, seed=0):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(2, positions, vocabulary)) * 3)


def fitted(original_PV, tuned_PV, kind):
    half = len(original_PV) // 2  # added in two parts
    sums = AffineSums(original_PV.shape[1])
    return sums.add(original_PV[:half], tuned_PV[:half]).add(
        original_PV[half:], tuned_PV[half:]
    ).fit(kind)  # fmt: skip


def by_least_squares(original_PV, tuned_PV, kind):
    """Scale and shift from one large system of equations."""
    x, y = (centred(each).numpy() for each in (original_PV, tuned_PV))
    positions, vocabulary = x.shape
    tokens = np.tile(np.eye(vocabulary), (positions, 1))
    columns = {"temperature": x.reshape(-1, 1), "shift": tokens,
               "joint": np.hstack([x.reshape(-1, 1), tokens])}[kind]  # fmt: skip
    target = (y - x if kind == "shift" else y).ravel()
    found = np.linalg.lstsq(columns, target, rcond=None)[0]
    if kind == "temperature":
        return found[0], np.zeros(vocabulary)
    return (1.0, found) if kind == "shift" else (found[0], found[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_is_that_of_least_squares(kind):
    original_PV, tuned_PV = logits()
    fit = fitted(original_PV, tuned_PV, kind)
    scale, shift = by_least_squares(original_PV, tuned_PV, kind)
    assert fit.scale == pytest.approx(scale)
    assert fit.shift_V.numpy() == pytest.approx(shift)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_the_sum_of_squared_errors(kind):
    original_PV, tuned_PV = logits(seed=1)
    fit = fitted(*logits(seed=2), kind)  # on other positions
    x, y = (each.numpy() - each.numpy().mean(1, keepdims=True) for each in (original_PV, tuned_PV))
    left = change = 0.0
    for position in range(len(x)):
        for token in range(x.shape[1]):
            left += (y[position, token] - fit.scale * x[position, token]
                     - float(fit.shift_V[token])) ** 2  # fmt: skip
            change += (y[position, token] - x[position, token]) ** 2
    assert unexplained(fit, original_PV, tuned_PV) == pytest.approx((left, change))


def test_a_planted_temperature_and_shift_are_found_and_leave_nothing():
    original_PV, _ = logits()
    shift_V = torch.tensor([0.0, 5.0, -1.0, 0.0, 2.0, 0.0, 0.0], dtype=torch.float64)
    tuned_PV = 1.7 * original_PV + shift_V + torch.arange(30)[:, None]  # and what softmax ignores
    fit = fitted(original_PV, tuned_PV, "joint")
    assert fit.scale == pytest.approx(1.7)
    assert fit.shift_V.numpy() == pytest.approx((shift_V - shift_V.mean()).numpy())
    left, change = unexplained(fit, original_PV, tuned_PV)
    assert left < 1e-18 * change
    for kind in ("temperature", "shift"):
        alone, _ = unexplained(fitted(original_PV, tuned_PV, kind), original_PV, tuned_PV)
        assert 0.01 * change < alone < change


def test_the_joint_fit_leaves_least_of_what_it_was_fitted_on():
    pair = logits(seed=3)
    left = {kind: unexplained(fitted(*pair, kind), *pair)[0] for kind in KINDS}
    assert left["joint"] < min(left["temperature"], left["shift"])


def test_logits_that_do_not_vary_have_a_scale_of_1():
    same_PV = torch.ones(4, 5)
    for kind in KINDS:
        assert fitted(same_PV, same_PV, kind).scale == 1
    with pytest.raises(ValueError, match="at least one position"):
        AffineSums(5).fit("joint")
