"""Exact facts, oracles (naive loop, scipy's exact test), planted truth, undefined."""

import itertools

import numpy as np
import pytest
import scipy.stats

from hyperfitting.measure import intervals
from hyperfitting.measure.intervals import (
    bootstrap_mean,
    bootstrap_mean_over_seeds,
    bootstrap_median,
    bootstrap_ratio,
    holm,
    holm_level,
    percentiles_around,
    sign_flip_p,
)

OPTIONS = {"resamples": 10_000, "confidence": 0.95, "seed": 0}


def test_bootstrap_agrees_with_a_naive_loop():
    values = np.random.default_rng(1).exponential(size=40)
    rng = np.random.default_rng(2)
    means = [rng.choice(values, len(values)).mean() for _ in range(10_000)]
    interval = bootstrap_mean(values, **OPTIONS)
    assert interval.mean == pytest.approx(values.mean())
    np.testing.assert_allclose(
        [interval.low, interval.high], np.quantile(means, [0.025, 0.975]), atol=0.015
    )


def test_bootstrap_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    options = OPTIONS | {"resamples": 500}
    intervals = [bootstrap_mean(rng.normal(1, 1, 60), **options) for _ in range(300)]
    covered = np.mean([i.low <= 1 <= i.high for i in intervals])
    assert 0.90 < covered < 0.98


def test_bootstrap_is_a_function_of_its_seed():
    values = np.arange(20.0)
    assert bootstrap_mean(values, **OPTIONS) == bootstrap_mean(values, **OPTIONS)
    assert bootstrap_mean(values, **OPTIONS) != bootstrap_mean(values, **OPTIONS | {"seed": 1})


def test_constant_values_have_no_spread_and_one_value_has_no_interval():
    assert bootstrap_mean(np.ones(9), **OPTIONS) == (1.0, 1.0, 1.0)
    assert bootstrap_mean(np.array([0.3]), **OPTIONS) == (0.3, None, None)


@pytest.mark.parametrize("values", [np.array([]), np.array([1.0, np.nan])])
def test_bootstrap_refuses_nothing_and_nan(values):
    with pytest.raises(ValueError, match="finite values"):
        bootstrap_mean(values, **OPTIONS)


def test_sign_flips_agree_with_all_flips_and_with_scipy():
    differences = np.random.default_rng(4).normal(0.4, 1, 10)
    flips = [abs(np.dot(s, differences)) for s in itertools.product([-1, 1], repeat=10)]
    exact = np.mean([f >= abs(differences.sum()) - 1e-12 for f in flips])
    scipys = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert exact == pytest.approx(scipys)
    assert sign_flip_p(differences, flips=10_000, seed=0) == pytest.approx(exact, abs=0.015)


def test_sign_flips_find_a_planted_shift_and_no_difference():
    rng = np.random.default_rng(5)
    assert sign_flip_p(rng.normal(2, 1, 50), flips=10_000, seed=0) == pytest.approx(1 / 10_001)
    assert sign_flip_p(np.zeros(50), flips=10_000, seed=0) == 1.0


def test_sign_flips_have_the_size_they_claim():
    rng = np.random.default_rng(6)
    ps = np.array([sign_flip_p(rng.normal(0, 1, 20), flips=400, seed=i) for i in range(400)])
    assert 0.02 < (ps <= 0.05).mean() < 0.085


def test_one_difference_has_no_test():
    with pytest.raises(ValueError, match="at least 2"):
        sign_flip_p(np.array([1.0]), flips=100, seed=0)


def test_holm_agrees_with_the_definition():
    ps = [0.01, 0.04, 0.03, 0.005]
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, made non-decreasing
    assert holm(ps) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(10))
def test_holm_level_is_where_one_more_test_becomes_significant(seed):
    rng = np.random.default_rng(seed)
    others = list(rng.choice([1e-4, 0.004, 0.01, 0.02, 0.2, 0.9], rng.integers(0, 9)))
    level = holm_level(others)
    for p in (level * (1 - 1e-9), level * (1 + 1e-9), *rng.uniform(0, 0.06, 20)):
        assert (holm([*others, p])[-1] < 0.05) == (p < level)


def test_a_ratio_agrees_with_a_naive_loop_and_is_a_mean_where_weights_are_equal():
    rng = np.random.default_rng(8)
    weights = rng.integers(1, 20, 40).astype(float)
    parts = rng.exponential(size=40) * weights
    found = bootstrap_ratio(parts, weights, **OPTIONS)
    assert found.mean == pytest.approx(np.average(parts / weights, weights=weights))
    drawn = [rng.integers(40, size=40) for _ in range(4_000)]
    loop = np.quantile([parts[i].sum() / weights[i].sum() for i in drawn], [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], loop, atol=0.02)
    equal = bootstrap_ratio(parts, np.full(40, 2.0), **OPTIONS)
    mean = bootstrap_mean(parts / 2, **OPTIONS)
    np.testing.assert_allclose(equal, mean, atol=0.1)
    assert equal.mean == pytest.approx(mean.mean)


def test_a_ratio_of_one_unit_has_no_interval_and_bad_weights_are_refused():
    assert bootstrap_ratio(np.array([1.0]), np.array([4.0]), **OPTIONS) == (0.25, None, None)
    with pytest.raises(ValueError, match="above 0"):
        bootstrap_ratio(np.ones(2), np.array([1.0, 0.0]), **OPTIONS)
    with pytest.raises(ValueError, match="finite"):
        bootstrap_ratio(np.array([np.nan]), np.ones(1), **OPTIONS)


def naive_over_seeds(values, draws, rng):
    means = []
    for _ in range(draws):
        seeds = rng.choice(len(values), len(values))
        contexts = rng.choice(values.shape[1], values.shape[1])
        means.append(np.mean([[values[s, n] for n in contexts] for s in seeds]))
    return np.quantile(means, [0.025, 0.975])


def test_bootstrap_over_seeds_agrees_with_a_naive_loop():
    rng = np.random.default_rng(8)
    # Contexts differ a lot and alike for all seeds: other contexts per seed would be narrower.
    values = rng.normal(0, 1, (4, 1)) + rng.normal(0, 3, (1, 12)) + rng.normal(0, 0.2, (4, 12))
    interval = bootstrap_mean_over_seeds(values, **OPTIONS)
    assert interval.mean == pytest.approx(values.mean())
    expected = naive_over_seeds(values, 10_000, np.random.default_rng(9))
    np.testing.assert_allclose([interval.low, interval.high], expected, atol=0.08)


def test_one_seed_is_the_bootstrap_over_contexts():
    values = np.random.default_rng(10).exponential(size=40)
    plain = bootstrap_mean(values, **OPTIONS)
    np.testing.assert_allclose(
        bootstrap_mean_over_seeds(values[None], **OPTIONS), plain, rtol=0, atol=0.015
    )


def test_equal_seeds_add_nothing_and_equal_contexts_leave_the_spread_of_seeds():
    values = np.random.default_rng(11).exponential(size=40)
    plain = bootstrap_mean(values, **OPTIONS)
    repeated = bootstrap_mean_over_seeds(np.tile(values, (5, 1)), **OPTIONS)
    np.testing.assert_allclose(repeated, plain, rtol=0, atol=0.015)
    seeds = bootstrap_mean_over_seeds(np.tile(values[:, None], (1, 5)), **OPTIONS)
    np.testing.assert_allclose(seeds, plain, rtol=0, atol=0.015)


def test_bootstrap_over_seeds_is_a_function_of_its_seed():
    values = np.random.default_rng(12).normal(size=(3, 20))
    first = bootstrap_mean_over_seeds(values, **OPTIONS)
    assert bootstrap_mean_over_seeds(values, **OPTIONS) == first
    assert bootstrap_mean_over_seeds(values, **OPTIONS | {"seed": 1}) != first


def test_bootstrap_over_seeds_without_an_interval_or_values():
    assert bootstrap_mean_over_seeds(np.array([[0.2], [0.4]]), **OPTIONS)[1:] == (None, None)
    for values in (np.empty((3, 0)), np.array([[1.0, np.nan]]), np.arange(3.0)):
        with pytest.raises(ValueError, match="finite values"):
            bootstrap_mean_over_seeds(values, **OPTIONS)


def test_percentiles_around_a_value_are_those_of_the_moved_draws():
    draws = np.random.default_rng(8).exponential(size=999) + 5
    low, high = percentiles_around(0.3, draws, 0.9)
    ordered = np.sort(draws) - draws.mean() + 0.3
    assert (low, high) == pytest.approx(
        (ordered[int(0.05 * 998)], ordered[int(0.95 * 998)]), abs=0.02
    )
    assert (low, high) == pytest.approx(percentiles_around(0.3, draws + 7, 0.9)), (
        "bias is taken out"
    )
    plain = np.quantile(draws, [0.05, 0.95])
    assert percentiles_around(draws.mean(), draws, 0.9) == pytest.approx(tuple(plain))
    wider = percentiles_around(0.3, draws, 0.99)
    assert wider[0] < low < 0.3 < high < wider[1]


def test_undefined_draws_are_left_out_of_percentiles():
    draws = np.array([1.0, np.nan, 3.0, np.nan, 2.0])
    assert percentiles_around(2.0, draws, 0.5) == (1.5, 2.5)
    assert percentiles_around(2.0, np.array([np.nan, np.nan]), 0.95) == (None, None)
    assert percentiles_around(2.0, np.array([]), 0.95) == (None, None)


def test_the_median_of_units_agrees_with_a_naive_loop():
    rng = np.random.default_rng(3)
    unit_P = np.sort(rng.integers(0, 12, size=90))
    values_P = rng.integers(1, 30, size=90).astype(float) + unit_P
    found = bootstrap_median(values_P, unit_P, **OPTIONS)
    assert found.mean == np.median(values_P)
    of_units = [values_P[unit_P == unit] for unit in np.unique(unit_P)]
    draws = [
        np.median(np.concatenate([of_units[i] for i in rng.integers(0, len(of_units), 12)]))
        for _ in range(4_000)
    ]
    np.testing.assert_allclose(
        [found.low, found.high], np.quantile(draws, [0.025, 0.975]), atol=0.6
    )


@pytest.mark.parametrize("counts", [[1, 2], [2, 1, 3], [4, 0, 1, 1]])
def test_a_draw_of_units_has_numpys_median(counts, monkeypatch):
    values_P, unit_P = np.array([5.0, 1, 2, 9, 7, 3]), np.array([0, 0, 1, 2, 2, 3])
    keep = unit_P < len(counts)
    times = np.array(counts, dtype=float)
    monkeypatch.setattr(
        intervals, "_multiplicities", lambda rng, draws, count: np.tile(times, (draws, 1))
    )
    found = bootstrap_median(values_P[keep], unit_P[keep], **OPTIONS)
    drawn = np.repeat(values_P[keep], times[unit_P[keep]].astype(int))
    assert found.low == found.high == np.median(drawn)


def test_one_unit_has_a_median_and_no_interval():
    found = bootstrap_median(np.array([1.0, 2.0]), np.array([4, 4]), **OPTIONS)
    assert found == (1.5, None, None)
    with pytest.raises(ValueError, match="finite values"):
        bootstrap_median(np.array([]), np.array([]), **OPTIONS)
