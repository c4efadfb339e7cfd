"""Exact facts, oracle, invariances, planted truth, undefined."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperfitting.measure.text import (
    diversity,
    ending,
    loop_period,
    ngram_repetition,
    type_token_ratio,
    word_type_token_ratio,
)

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
    assert diversity([1, 2, 3]) is None
    assert word_type_token_ratio("") is None
    assert word_type_token_ratio("... _ !?") is None


def test_words_by_hand():
    assert word_type_token_ratio("The cat saw the CAT's tail.") == pytest.approx(5 / 7)
    assert word_type_token_ratio("snake_case v2, V2") == pytest.approx(3 / 4)
    assert word_type_token_ratio("Été été 一二 一二 ÉTÉ") == pytest.approx(2 / 5)


@given(st.text(alphabet="aAbé_ 1²,.'\n-Я一", max_size=40) | st.text(max_size=40))
def test_words_agree_with_runs_of_letters_and_digits(text):
    runs = itertools.groupby(text, key=str.isalnum)
    words = ["".join(run).lower() for is_word, run in runs if is_word]
    expected = pytest.approx(len(set(words)) / len(words)) if words else None
    assert word_type_token_ratio(text) == expected


def test_diversity_of_no_repetition_and_of_a_loop():
    assert diversity(list(range(10))) == 1.0
    assert diversity([7] * 10) == pytest.approx(1 / 9 * 1 / 8 * 1 / 7)


@given(tokens)
def test_diversity_agrees_with_counting_by_hand(ids):
    if len(ids) < 4:
        assert diversity(ids) is None
        return
    product = 1.0
    for order in (2, 3, 4):
        grams = [str(ids[i : i + order]) for i in range(len(ids) - order + 1)]
        product *= sum(gram not in grams[:i] for i, gram in enumerate(grams)) / len(grams)
    assert diversity(ids) == pytest.approx(product)
