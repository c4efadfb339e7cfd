"""Whether there is a gain to speak of, and shares of it: facts, oracles, planted truth."""

import numpy as np
import pytest

from hyperfitting.measure.gain import (
    Gain,
    fewest_contexts,
    gain,
    no_gain_in_words,
    ratio_interval,
    share,
    share_of_gain,
)

LEVEL = {"resamples": 2_000, "confidence": 0.95, "seed": 0}


@pytest.mark.parametrize("seed", range(5))
def test_a_share_is_where_a_point_lies_between_two(seed):
    rng = np.random.default_rng(seed)
    original, tuned, part = rng.uniform(0, 1, 3)
    value = original + part * (tuned - original)
    assert share_of_gain(value, original, tuned) == pytest.approx(part)
    assert share_of_gain(original, original, tuned) == 0
    assert share_of_gain(tuned, original, tuned) == 1
    assert share_of_gain(value, tuned, original) == pytest.approx(1 - part), "the way back"
    assert share_of_gain(value, original, original) is None


def test_a_planted_gain_is_shown_and_noise_is_not():
    rng = np.random.default_rng(0)
    original_N = rng.uniform(0, 1, 40)
    found = gain(original_N, original_N + 0.1 + 0.05 * rng.normal(size=40), **LEVEL)
    assert found.reason is None
    assert found.low < found.value < found.high
    back = gain(original_N + 0.1, original_N, **LEVEL)
    assert back.reason is None
    assert back.value == pytest.approx(-0.1), "a gain may be negative"
    noise = gain(original_N, original_N + 0.05 * rng.normal(size=40), **LEVEL)
    assert noise.reason == "no gain is shown on these contexts"


def test_a_gain_is_claimed_from_noise_about_as_often_as_the_level_says():
    rng = np.random.default_rng(1)
    level = LEVEL | {"resamples": 200}
    for count in (3, 10, 30):
        claimed = [
            gain(rng.normal(size=count), rng.normal(size=count), **level).reason is None
            for _ in range(200)
        ]
        # At most 5 %: 19 of 200 lie beyond four standard deviations of that.
        assert sum(claimed) < 20, count
        assert count > 5 or not any(claimed), "three contexts cannot show a sign"


def test_too_few_contexts_and_none_that_moved():
    one = gain(np.array([0.2]), np.array([0.9]), **LEVEL)
    assert (one.low, one.high) == (None, None)
    assert one.reason == "one context cannot show a gain"
    same = gain(np.full(9, 0.3), np.full(9, 0.3), **LEVEL)
    assert same.reason == "no context has a gain"
    assert "the original's TTR in every context" in no_gain_in_words(same)
    with pytest.raises(ValueError, match="finite"):
        gain(np.array([]), np.array([]), **LEVEL)


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95, 0.99])
def test_the_fewest_contexts_are_those_whose_signs_may_agree_by_chance_too_rarely(confidence):
    n = fewest_contexts(confidence)
    assert 2.0 ** (1 - n) < 1 - confidence
    assert n == 2 or 2.0 ** (2 - n) >= 1 - confidence


def test_a_share_has_the_interval_of_a_plain_paired_bootstrap():
    rng = np.random.default_rng(2)
    original_N = rng.uniform(0.1, 0.3, 25)
    tuned_N = original_N + rng.uniform(0.2, 0.6, 25)
    value_N = original_N + rng.uniform(0, 0.4, 25)
    found = share(value_N, original_N, tuned_N, gain(original_N, tuned_N, **LEVEL), **LEVEL)
    draws = []
    for _ in range(4_000):
        pick = rng.integers(25, size=25)
        one, two, middle = original_N[pick].mean(), tuned_N[pick].mean(), value_N[pick].mean()
        draws.append((middle - one) / (two - one))
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.value == share_of_gain(value_N.mean(), original_N.mean(), tuned_N.mean())
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))
    whole = share(tuned_N, original_N, tuned_N, gain(original_N, tuned_N, **LEVEL), **LEVEL)
    assert whole == (1, 1, 1, None)
    left = found.left()
    assert (left.value, left.low, left.high) == (1 - found.value, 1 - found.high, 1 - found.low)


def test_without_a_gain_no_share_is_given_but_its_reason():
    found = Gain(0.002, -0.1, 0.104, "no gain is shown on these contexts")
    columns = [np.array([0.1, 0.3]), np.array([0.2, 0.2]), np.array([0.2, 0.204])]
    assert share(*columns, found, **LEVEL) == (None, None, None, found.reason)


def test_a_ratio_leaves_out_draws_without_one():
    assert ratio_interval(np.ones(3), np.zeros(3), **LEVEL) == (None, None)
    assert ratio_interval(np.ones(1), np.ones(1), **LEVEL) == (None, None)
    low, high = ratio_interval(np.array([2.0, 4.0]), np.array([0.0, 2.0]), **LEVEL)
    assert np.isfinite([low, high]).all()
    with pytest.raises(ValueError, match="finite"):
        ratio_interval(np.array([np.nan]), np.array([1.0]), **LEVEL)
