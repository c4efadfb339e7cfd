"""Differences over contexts and trainings: scipy's tests where one part is absent, error rates."""

import numpy as np
import pytest
from scipy import stats

from hyperfitting.measure.differences import (
    SMALLEST_P,
    Difference,
    difference_over_contexts,
    difference_over_trainings,
)


def noisy(rng, trainings, contexts=60, *, of_training=0.010, of_context=0.02, rest=0.045):
    """Values [S, N] of an arm without any effect; sizes as TTR has them on the built-in model."""
    return (
        rng.normal(0, of_training, (trainings, 1))
        + rng.normal(0, of_context, (1, contexts))
        + rng.normal(0, rest, (trainings, contexts))
    )


# Contexts only


@pytest.mark.parametrize("seed", range(3))
def test_over_contexts_it_is_the_paired_t_test(seed):
    differences = np.random.default_rng(seed).normal(0.1, 0.5, 25)
    found = difference_over_contexts(differences)
    expected = stats.ttest_1samp(differences, 0)
    assert found.p() == pytest.approx(expected.pvalue)
    for confidence in (0.9, 0.95):
        assert found.interval(confidence) == pytest.approx(
            tuple(expected.confidence_interval(confidence))
        )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.05, 0.3, 2.0])
def test_equivalence_agrees_with_two_scipy_tests(seed, margin):
    differences = np.random.default_rng(seed).normal(0.1, 0.5, 25)
    above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    for signed in (differences, -differences):
        p = difference_over_contexts(signed).equivalence_p(margin)
        assert p == pytest.approx(max(above, below), rel=1e-10)


def test_equivalence_by_hand():
    # mean 1, standard error 1, 2 degrees of freedom: t = -1 at margin 2, and
    # P(t < -1) with 2 degrees of freedom is 1/2 - 1/(2 sqrt 3).
    differences = 1 + np.sqrt(3) * np.array([-1.0, 0.0, 1.0])
    p = difference_over_contexts(differences).equivalence_p(2.0)
    assert p == pytest.approx(0.5 - 0.5 / np.sqrt(3))


def test_equivalence_is_claimed_at_the_border_as_seldom_as_it_says():
    rng = np.random.default_rng(7)
    found = [difference_over_contexts(rng.normal(0.5, 1, 60)) for _ in range(1_000)]
    assert 0.03 < np.mean([each.equivalence_p(0.5) <= 0.05 for each in found]) < 0.075


# Trainings and contexts


@pytest.mark.parametrize("trainings", [2, 3, 5])
def test_without_spread_over_contexts_it_is_a_t_test_over_trainings(trainings):
    rng = np.random.default_rng(trainings)
    means = rng.normal(0.3, 0.2, (2, trainings))
    a_SN, b_SN = (np.repeat(each[:, None], 7, axis=1) for each in means)
    one = difference_over_trainings(a_SN)
    assert one.p() == pytest.approx(stats.ttest_1samp(means[0], 0).pvalue, rel=1e-6)
    both = difference_over_trainings(a_SN, b_SN)
    welch = stats.ttest_ind(*means, equal_var=False)
    assert both.p() == pytest.approx(welch.pvalue, rel=1e-6)
    assert both.interval(0.95) == pytest.approx(tuple(welch.confidence_interval(0.95)))


def test_without_spread_between_trainings_it_is_the_paired_t_test():
    values = np.random.default_rng(1).normal(0.1, 0.5, 30)
    found = difference_over_trainings(np.tile(values, (3, 1)))
    assert found.p() == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_both_parts_by_hand():
    a_SN = np.array([[1.0, 3.0], [2.0, 6.0]])
    b_SN = np.array([[0.0, 1.0], [1.0, 4.0], [2.0, 4.0]])
    found = difference_over_trainings(a_SN, b_SN)
    # Means of contexts 1.5, 4.5 less 1, 3: .5 and 1.5. Of trainings: 2, 4 and .5, 2.5, 3.
    assert found.value == pytest.approx(1.0)
    assert found.by_contexts == pytest.approx(0.5 / 2)
    parts = np.array([2 / 2, np.var([0.5, 2.5, 3], ddof=1) / 3])
    assert found.by_trainings == pytest.approx(parts.sum())
    assert found.degrees_trainings == pytest.approx(parts.sum() ** 2 / (parts**2 / [1, 2]).sum())
    squares = [
        stats.t.ppf(0.95, degrees) ** 2 * part
        for degrees, part in ((1, found.by_contexts), (found.degrees_trainings, parts.sum()))
    ]
    assert found.half_width(0.1) == pytest.approx(np.sqrt(sum(squares)))


@pytest.mark.parametrize("seed", range(20))
def test_p_and_interval_and_equivalence_are_of_one_kind(seed):
    """p below a level: 0 outside that interval. Equivalent at .05: 90 % interval in the margin."""
    rng = np.random.default_rng(seed)
    a_SN = noisy(rng, 3) + rng.uniform(-0.05, 0.05)
    found = difference_over_trainings(a_SN, noisy(rng, 2) if seed % 2 else None)
    p = found.p()
    assert found.half_width(p) == pytest.approx(abs(found.value), rel=1e-6)
    for level in (0.01, 0.05, 0.3):
        low, high = found.interval(1 - level)
        assert (p < level) == (not low <= 0 <= high)
    for margin in (0.01, 0.03, 0.1, 0.3):
        low, high = found.interval(0.9)
        assert (found.equivalence_p(margin) < 0.05) == (-margin < low and high < margin)


@pytest.mark.parametrize("trainings", [2, 3, 5])
@pytest.mark.parametrize("both_trained", [False, True])
def test_two_trainings_of_one_method_seldom_differ(trainings, both_trained):
    """At .05, where contexts as the only noise find a difference in every fifth case or more."""
    rng = np.random.default_rng(10 * trainings + both_trained)
    wrong, wrong_over_contexts, cases = 0, 0, 400
    for _ in range(cases):
        arms = [noisy(rng, trainings) for _ in range(1 + both_trained)]
        wrong += difference_over_trainings(*arms).p() < 0.05
        difference_N = arms[0].mean(axis=0) - (arms[1].mean(axis=0) if both_trained else 0)
        wrong_over_contexts += difference_over_contexts(difference_N).p() < 0.05
    assert wrong / cases <= 0.06
    assert wrong_over_contexts / cases > 0.15


def test_a_difference_that_is_there_is_found():
    rng = np.random.default_rng(5)
    found = [
        difference_over_trainings(noisy(rng, 3) + 0.08, noisy(rng, 3)).p() < 0.05
        for _ in range(100)
    ]
    assert np.mean(found) > 0.95


# The ends


def test_without_any_spread():
    for found in (difference_over_contexts, lambda d: difference_over_trainings(np.array([d, d]))):
        assert found(np.zeros(5)).p() == 1.0
        assert found(np.full(5, 0.3)).p() is None, "nothing to test it against"
        assert found(np.zeros(5)).equivalence_p(0.1) == 0.0
        assert found(np.full(5, 0.1)).equivalence_p(0.1) == 1.0
        assert found(np.full(5, -0.3)).equivalence_p(0.1) == 1.0


def test_rounding_is_no_spread():
    found = Difference(1e-17, 1e-34, 1e-34, 59, 2)
    assert found.p() == 1.0


def test_a_p_is_never_0():
    a_SN = np.random.default_rng(0).normal(0, 1e-9, (5, 60)) + 1
    assert difference_over_trainings(a_SN).p() == SMALLEST_P


@pytest.mark.parametrize("values", [np.zeros((1, 5)), np.zeros((3, 1)), np.zeros(5)])
def test_one_training_or_context_is_refused(values):
    with pytest.raises(ValueError, match="at least 2 trainings and 2 contexts"):
        difference_over_trainings(values)


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        difference_over_contexts(np.array([1.0]))
    with pytest.raises(ValueError, match="finite"):
        difference_over_contexts(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="finite"):
        difference_over_trainings(np.array([[1.0, np.inf], [1.0, 2.0]]))
    with pytest.raises(ValueError, match="above 0"):
        difference_over_contexts(np.arange(3.0)).equivalence_p(0.0)
