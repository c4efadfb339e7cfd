"""Exact facts, oracle, invariances, planted truth, undefined."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperfitting.measure.text import ending, loop_period, ngram_repetition, type_token_ratio

tokens = st.lists(st.integers(0, 5), max_size=60)


def test_all_different_and_all_equal():
    assert type_token_ratio(list(range(10))) == 1.0
    assert type_token_ratio([7] * 10) == pytest.approx(0.1)
    assert ngram_repetition(list(range(10)), 2) == 0.0
    assert ngram_repetition([7] * 10, 2) == pytest.approx(1 - 1 / 9)


def test_only_the_last_96_tokens_count_in_ttr():
    assert type_token_ratio(list(range(100)) + [5] * 96) == pytest.approx(1 / 96)


@given(tokens, st.integers(1, 4))
def test_repetition_agrees_with_counting_by_hand(ids, order):
    seen, repeated, total = [], 0, 0
    for i in range(len(ids) - order + 1):
        gram = ids[i : i + order]
        total += 1
        if gram in seen:
            repeated += 1
        seen.append(gram)
    expected = None if total == 0 else repeated / total
    assert ngram_repetition(ids, order) == (None if expected is None else pytest.approx(expected))


@given(tokens.filter(bool))
def test_unchanged_by_renaming_tokens(ids):
    renamed = [17 - i for i in ids]
    assert type_token_ratio(renamed) == type_token_ratio(ids)
    assert ngram_repetition(renamed, 2) == ngram_repetition(ids, 2)
    assert loop_period(renamed) == loop_period(ids)


@given(st.lists(st.integers(0, 2), max_size=120))
def test_loop_period_agrees_with_the_definition(ids):
    expected = None
    for period in range(1, 33):
        span = max(3 * period, 24)
        if len(ids) >= span:
            tail = ids[-span:]
            if tail == (tail[:period] * span)[:span]:
                expected = period
                break
    assert loop_period(ids) == expected


@pytest.mark.parametrize("period", [1, 2, 7, 32])
def test_a_planted_loop_is_found_with_its_period(period):
    start = list(range(100, 140))
    assert loop_period(start + list(range(period)) * 30) == period


def test_a_period_of_33_is_no_loop():
    assert loop_period(list(range(33)) * 6) is None


def test_each_text_is_in_one_class_and_ended_is_tested_first():
    assert ending([1] * 50 + [0], {0}) == "ended"
    assert ending([1] * 50, {0}) == "looped"
    assert ending(list(range(1, 50)), {0}) == "truncated"
    assert ending([1] * 23, {0}) == "truncated"


def test_undefined_is_none():
    assert type_token_ratio([]) is None
    assert ngram_repetition([1], 2) is None
    assert loop_period([]) is None
