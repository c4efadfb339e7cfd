"""How synchronised two loss curves are, by scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from hyperfitting.measure.curves import together


def curve(seed, epochs=30, spike=None):
    rng = np.random.default_rng(seed)
    losses = 4 * np.exp(-0.1 * np.arange(epochs)) * np.exp(0.05 * rng.standard_normal(epochs))
    if spike is not None:
        losses[spike] *= 8
    return losses.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_the_correlation_is_scipys_of_the_logarithms_changes(seed):
    a, b = curve(seed), curve(seed + 50, epochs=25)
    found = together(a, b)
    steps_a, steps_b = np.diff(np.log(a[:25])), np.diff(np.log(b))
    assert found.correlation == pytest.approx(stats.pearsonr(steps_a, steps_b).statistic)
    gaps = [abs(np.log(x / y)) for x, y in zip(a, b, strict=False)]
    assert found.largest_gap == pytest.approx(max(gaps))
    assert found.gap_epoch == gaps.index(max(gaps)) + 1
    assert found.epochs == 25


def test_a_curve_goes_with_itself_and_with_itself_at_another_rate():
    a = curve(0)
    same = together(a, a)
    assert same.correlation == pytest.approx(1)
    assert same.largest_gap == 0
    scaled = together(a, [3 * loss for loss in a])
    assert scaled.correlation == pytest.approx(1)
    assert scaled.largest_gap == pytest.approx(np.log(3))


def test_a_planted_spike_is_named_and_only_a_shared_one_is_synchronised():
    alone = together(curve(1, spike=12), curve(2))
    assert alone.gap_epoch == 13
    shared = together(curve(1, spike=12), curve(2, spike=12))
    assert shared.correlation > 0.9 > 0.5 > alone.correlation


def test_what_has_no_pace_has_no_correlation():
    steady = [2.0**-k for k in range(8)]
    assert together(steady, curve(0)).correlation is None
    assert together(curve(0)[:3], curve(1)).correlation is None
    assert together(curve(0)[:4], curve(1)).correlation is not None


def test_without_a_common_epoch_or_at_a_loss_of_zero_there_is_nothing():
    assert together([], [1.0]) is None
    assert together([1.0, 0.0], [1.0, 0.5]) is None
