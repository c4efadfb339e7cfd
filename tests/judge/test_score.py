import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hyperfitting.judge.score import (
    outcome,
    pair_verdict,
    position_bias,
    rate,
    sign_test,
)

VERDICTS = st.lists(st.sampled_from([-1, 0, 1]), max_size=60)


def ends(rate):
    return rate.percent, rate.low, rate.high


def by_the_words(first, second):
    """The rule of definitions 8.8, word by word."""
    for arm in (1, -1):
        if first == second == arm:
            return arm
        if (first, second) in ((arm, 0), (0, arm)):
            return arm
    return 0


def test_a_pair_is_won_as_the_definition_says():
    for first, second in product((-1, 0, 1), repeat=2):
        assert pair_verdict([first, second]) == by_the_words(first, second)
    assert [pair_verdict([v]) for v in (-1, 0, 1)] == [-1, 0, 1]


def naive_sign_test(wins, losses):
    """Sum of the probabilities of all outcomes that are at most as likely as the one seen."""
    n = wins + losses
    masses = [math.comb(n, k) for k in range(n + 1)]
    return sum(m for m in masses if m <= masses[wins]) / 2**n


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (5, 5), (0, 7), (30, 11), (114, 82)])
def test_the_sign_test_is_the_binomial_sum(wins, losses):
    assert sign_test(wins, losses) == pytest.approx(naive_sign_test(wins, losses), rel=1e-9)
    assert sign_test(losses, wins) == pytest.approx(sign_test(wins, losses))


@pytest.mark.parametrize(("count", "n"), [(0, 7), (7, 7), (1, 200), (114, 199), (82, 199)])
def test_the_interval_holds_exactly_the_shares_that_the_tails_allow(count, n):
    found = rate(count, n, confidence=0.95)
    low = stats.beta.ppf(0.025, count, n - count + 1) if count else 0
    high = stats.beta.ppf(0.975, count + 1, n - count) if count < n else 1
    assert ends(found) == pytest.approx((100 * count / n, 100 * low, 100 * high))
    # Clopper and Pearson's own words: each bound leaves 2.5 % in one tail.
    tails = [
        sum(math.comb(n, k) * low**k * (1 - low) ** (n - k) for k in range(count, n + 1)),
        sum(math.comb(n, k) * high**k * (1 - high) ** (n - k) for k in range(count + 1)),
    ]
    assert tails == pytest.approx([0.025 if count else 1, 0.025 if count < n else 1])


def test_the_counts_behind_the_papers_table_give_its_numbers():
    total = outcome([1] * 114 + [-1] * 82 + [0] * 3)
    assert ends(total.win_rate) == pytest.approx((57.29, 50.1, 64.3), abs=0.06)
    assert ends(total.loss_rate) == pytest.approx((41.2, 34.3, 48.4), abs=0.06)
    assert total.tie_rate.percent == pytest.approx(1.5, abs=0.06)
    assert total.p == pytest.approx(0.027, abs=5e-4)
    diversity = outcome([1] * 93 + [-1] * 103 + [0] * 3)
    assert ends(diversity.win_rate)[1:] == pytest.approx((39.6, 53.9), abs=0.06)
    assert ends(diversity.loss_rate)[1:] == pytest.approx((44.6, 58.9), abs=0.06)
    assert diversity.p == pytest.approx(0.52, abs=5e-3)


@settings(max_examples=30, deadline=None)
@given(VERDICTS)
def test_the_rates_sum_to_100_and_arms_can_be_swapped(verdicts):
    there, back = outcome(verdicts), outcome([-v for v in verdicts])
    assert (there.wins, there.losses, there.ties) == (back.losses, back.wins, back.ties)
    assert there.win_rate == back.loss_rate
    assert there.p == back.p
    if verdicts:
        rates = (there.win_rate, there.loss_rate, there.tie_rate)
        assert sum(rate.percent for rate in rates) == pytest.approx(100)
        assert all(0 <= r.low <= r.percent <= r.high <= 100 for r in rates)


def test_what_is_undefined_says_why():
    nothing = outcome([])
    assert ends(nothing.win_rate) == (None, None, None)
    assert (nothing.p, nothing.reason) == (None, "no valid pair")
    ties = outcome([0, 0])
    assert (ties.tie_rate.percent, ties.p, ties.reason) == (100, None, "every pair is a tie")
    assert ends(position_bias([]).flip_rate) == (None, None, None)
    assert position_bias([]).reason == "no valid pair"
    assert position_bias([(1, 1)]).reason == "no pair favours a place"


def test_the_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    bounds = [rate(int(k), 40) for k in rng.binomial(40, 0.3, 200)]
    assert np.mean([rate.low <= 30 <= rate.high for rate in bounds]) >= 0.95


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_a_planted_position_bias_is_found_and_an_absent_one_is_not(strength):
    """A judge who gives the first place to a share of pairs and else judges the text."""
    rng = np.random.default_rng(1)
    orders = []
    for truth, drawn in zip(rng.choice([-1, 0, 1], 400), rng.random(400), strict=True):
        orders.append((1, -1) if drawn < strength else (int(truth), int(truth)))
    found = position_bias(orders)
    planted = sum(pair == (1, -1) for pair in orders)
    assert (found.flips, found.reversals, found.favour_first) == (planted, planted, planted)
    assert found.favour_second == 0
    assert found.p is None if strength == 0 else found.p < 1e-10


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([-1, 0, 1])] * 2), max_size=40))
def test_places_are_counted_as_a_naive_loop_counts_them(orders):
    first = second = 0
    for a_shown_first, b_shown_first in orders:
        to_first = (a_shown_first == 1) + (b_shown_first == -1)
        to_second = (a_shown_first == -1) + (b_shown_first == 1)
        first += to_first > to_second
        second += to_second > to_first
    found = position_bias(orders)
    assert (found.favour_first, found.favour_second) == (first, second)
    assert found.n == len(orders)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="pair_verdict needs"):
        pair_verdict([])
    with pytest.raises(ValueError, match="pair_verdict needs"):
        pair_verdict([2, 0])
    with pytest.raises(ValueError, match="clopper_pearson needs"):
        rate(5, 4)
    with pytest.raises(ValueError, match="sign_test needs"):
        sign_test(-1, 4)
    with pytest.raises(ValueError, match="outcome needs"):
        outcome([1, 7])
    with pytest.raises(ValueError, match="position_bias needs"):
        position_bias([(1, 5)])
