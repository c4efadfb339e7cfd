"""Intervals of what had none: distinct-2 over contexts, a final loss over training windows."""

import numpy as np
import pytest

from hyperfitting.evaluate.arms import ArmOutputs
from hyperfitting.evaluate.measurements import set_measurements
from hyperfitting.evaluate.per_set import set_values
from hyperfitting.measure.quality import distinct_n
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.train.manifest import loss_interval
from tests.evaluate.test_measurements import CONFIG, K, rows_of, sampled, texts

ABOUT = {"model": "m", "domain": "d"}


def arm_of(rows, name="tuned", seed=0):
    return ArmOutputs(Arm(name, seed), [texts(name, rows)])


def distinct_2(*arms):
    values, _ = set_values(arms, CONFIG, Progress())
    return [value for value in values if value.metric == "distinct_2"]


def naive(rows, draws=4000):
    """Draws of contexts, each with its share of the bigrams it holds."""
    grams = [{tuple(row[i : i + 2]) for i in range(len(row) - 1)} for row in rows]
    share = [sum(1 / sum(g in other for other in grams) for g in of) for of in grams]
    rng = np.random.default_rng(5)
    picked = rng.integers(len(rows), size=(draws, len(rows)))
    return [np.mean([share[n] for n in each]) / (K - 1) for each in picked]


def test_distinct_2_has_the_interval_of_a_naive_loop_around_its_value():
    rows = rows_of(3, 12)
    rows[0] = [1, 2] * (K // 2)
    [found] = distinct_2(arm_of(rows))
    assert found.value == distinct_n(rows, 2)
    loop = naive(rows)
    assert np.mean(loop) == pytest.approx(found.value, abs=0.01)
    assert (found.low, found.high) == pytest.approx(np.quantile(loop, [0.025, 0.975]), abs=0.03)
    assert found.low < found.value < found.high


def test_draws_of_a_sampled_arm_are_averaged_and_one_context_has_no_interval():
    arm = sampled("tuned", 0)
    [found] = distinct_2(arm)
    single = [distinct_2(ArmOutputs(arm.arm, [draw]))[0] for draw in arm.draws]
    assert found.value == pytest.approx(np.mean([each.value for each in single]))
    np.testing.assert_allclose(found.draws_R, np.mean([e.draws_R for e in single], axis=0))
    [one] = distinct_2(arm_of([[1, 2, 3]]))
    assert (one.value, one.low, one.high) == (1.0, None, None)


def test_over_trainings_distinct_2_has_an_interval_that_draws_them_too():
    arms = [arm_of(rows_of(seed, 4 + 8 * seed), seed=seed) for seed in range(3)]
    *_, row = set_measurements(distinct_2(*arms), CONFIG, **ABOUT)
    each = [value.value for value in distinct_2(*arms)]
    assert (row.num_seeds, row.mean) == (3, pytest.approx(np.mean(each)))
    assert row.low < row.mean < row.high
    widest = max(value.high - value.low for value in distinct_2(*arms))
    assert row.high - row.low > widest, "trainings differ more than contexts here"


def test_a_final_loss_is_resampled_by_windows_each_with_its_tokens():
    rng = np.random.default_rng(0)
    losses_N, labels_N = rng.exponential(1, 50), rng.integers(10, 255, 50)
    found = loss_interval(losses_N, labels_N)
    drawn = [rng.integers(50, size=50) for _ in range(4000)]
    loop = [np.average(losses_N[i], weights=labels_N[i]) for i in drawn]
    bounds = (found.low, found.high)
    assert bounds == pytest.approx(np.quantile(loop, [0.025, 0.975]), abs=0.03)
    assert (found.n, found.confidence) == (50, 0.95)
    one = loss_interval(np.array([0.5]), np.array([255]))
    assert (one.low, one.high, one.n) == (None, None, 1)
