"""Kinds of tokens, repeated n-grams and the table by rank, against naive counts."""

import numpy as np
import pytest

from hyperfitting.measure.token_kinds import (
    FUNCTION_WORDS,
    KINDS,
    TokenKinds,
    avoids_repeat,
    completes_ngram,
    completing_tokens,
    rank_class_table,
    token_kind,
)


@pytest.mark.parametrize(
    ("text", "starts_word", "kind"),
    [
        (" the", True, "function_word"),
        ("The", True, "function_word"),
        (" don’t", True, "function_word"),
        (" castle", True, "content_word"),
        (" naïve", True, "content_word"),
        ("3rd", True, "content_word"),
        ("the", False, "word_continuation"),
        ("ing", False, "word_continuation"),
        ("'s", False, "word_continuation"),
        (",", False, "punctuation_or_number"),
        (" —", True, "punctuation_or_number"),
        ("1984", True, "punctuation_or_number"),
        (" $ 5", True, "punctuation_or_number"),
        ("\n\n", False, "whitespace_or_other"),
        ("", True, "whitespace_or_other"),
        ("\ufffd", False, "whitespace_or_other"),
        ("\x00", False, "whitespace_or_other"),
    ],
)
def test_kinds_of_tokens(text, starts_word, kind):
    assert token_kind(text, starts_word) == kind


def test_the_word_list_is_of_single_lower_case_words():
    assert len(FUNCTION_WORDS) >= 150
    assert all(token_kind(word, True) == "function_word" for word in FUNCTION_WORDS)
    assert all(word == word.lower() and " " not in word for word in FUNCTION_WORDS)
    assert not FUNCTION_WORDS & {"house", "said", "time", "man", "good", "go"}


def test_kinds_of_a_vocabulary():
    kinds = TokenKinds.from_texts([" of", "Paris", "ian", "."], [True, True, False, False])
    assert kinds.of([3, 0, 2, 1]) == [KINDS[2], KINDS[0], KINDS[3], KINDS[1]]
    for outside in (4, -1):
        with pytest.raises(IndexError, match=r"0\.\.3"):
            kinds.of([outside])
    with pytest.raises(ValueError, match="1 texts but 2 flags"):
        TokenKinds.from_texts(["a"], [True, False])


def naive_completing(prefix, order, vocabulary):
    grams = {tuple(prefix[i : i + order]) for i in range(len(prefix) - order + 1)}
    return {v for v in range(vocabulary) if tuple([*prefix, v][-order:]) in grams}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("order", [1, 2, 4])
def test_completing_tokens_agree_with_a_naive_search(seed, order):
    rng = np.random.default_rng(seed)
    path = rng.integers(0, 3, size=60).tolist()
    expected = [naive_completing(path[:p], order, 4) for p in range(60)]
    assert completing_tokens(path, 0, order) == expected
    assert completing_tokens(path, 17, order) == expected[17:]
    assert any(expected)
    for position in range(0, 60, 7):
        repeats = {v for v in range(4) if completes_ngram(path[:position], v, order)}
        assert repeats == expected[position]


def test_the_repeated_ngram_lies_inside_the_prefix():
    assert completes_ngram([1, 2, 3, 4, 9, 1, 2, 3], 4)
    assert not completes_ngram([1, 2, 3, 4, 9, 1, 2, 3], 9)
    assert not completes_ngram([1, 2, 3], 4)
    assert completes_ngram([7, 7, 7, 7], 7)
    assert not completes_ngram([], 7)
    assert not completes_ngram([], 7, order=1)
    assert completing_tokens([], 0) == []
    assert completing_tokens([1, 2], 2) == []


def test_sets_of_one_position_do_not_grow_later():
    path = [1, 2, 1, 3, 1]
    assert completing_tokens(path, 0, order=2) == [set(), set(), set(), {2}, set()]
    sets = completing_tokens([1, 2, 1, 3, 1, 2], 0, order=2)
    assert (sets[3], sets[5]) == ({2}, {2, 3})


def test_bad_ngram_input_is_refused():
    for call in (lambda: completes_ngram([1], 1, 0), lambda: completing_tokens([1], 0, 0)):
        with pytest.raises(ValueError, match="order"):
            call()
    with pytest.raises(ValueError, match="start"):
        completing_tokens([1], 2)


def test_avoiding_needs_both_models():
    repeats = [{4}, {4}, {4, 5}, set()]
    assert avoids_repeat([4, 1, 4, 4], [1, 4, 5, 1], repeats).tolist() == [1, 0, 0, 0]
    with pytest.raises(ValueError, match="zip"):
        avoids_repeat([1], [1, 2], repeats)


def test_the_table_by_hand():
    rows = rank_class_table(
        np.array([1, 1, 2, 10, 11, 201]),
        [KINDS[0], KINDS[1], KINDS[1], KINDS[1], KINDS[2], KINDS[0]],
        np.array([True, False, True, True, False, False]),
        np.array([False, False, True, False, True, True]),
    )
    table = {row.rank_class: row for row in rows}
    assert [row.rank_class for row in rows] == ["1", "2-10", ">10", "11-200", ">200"]
    assert [row.n for row in rows] == [2, 2, 2, 1, 1]
    assert list(table["1"].kinds.values()) == [0.5, 0.5, 0, 0, 0]
    assert list(table[">10"].kinds.values()) == [0.5, 0, 0.5, 0, 0]
    assert [row.seen_before for row in rows] == [0.5, 1, 0, 0, 0]
    assert [row.avoids_repeat for row in rows] == [None, 0.5, 1, 1, 1]


@pytest.mark.parametrize("seed", range(4))
def test_the_table_agrees_with_counts(seed):
    rng = np.random.default_rng(seed)
    rank = np.ceil(np.exp(rng.uniform(0, 7, size=300))).astype(int)
    kinds = rng.choice(np.array(KINDS), size=300).tolist()
    seen, avoids = rng.random((2, 300)) < 0.3
    rows = {row.rank_class: row for row in rank_class_table(rank, kinds, seen, avoids)}
    assert rows["1"].n + rows["2-10"].n + rows[">10"].n == 300
    assert rows["11-200"].n + rows[">200"].n == rows[">10"].n
    for name, inside in (("2-10", range(2, 11)), ("11-200", range(11, 201))):
        members = [i for i in range(300) if rank[i] in inside]
        assert sum(rows[name].kinds.values()) == pytest.approx(1)
        for kind in KINDS:
            count = sum(kinds[i] == kind for i in members)
            assert rows[name].kinds[kind] == pytest.approx(count / len(members))
        assert rows[name].seen_before == pytest.approx(sum(seen[members]) / len(members))
        assert rows[name].avoids_repeat == pytest.approx(sum(avoids[members]) / len(members))


def test_an_empty_class_has_no_shares():
    none = np.array([], dtype=bool)
    for row in rank_class_table(np.array([], dtype=int), [], none, none):
        assert row.n == 0
        assert set(row.kinds.values()) == {row.seen_before, row.avoids_repeat} == {None}


def test_bad_table_input_is_refused():
    one = np.array([True])
    with pytest.raises(ValueError, match=r"\(1, 2, 1, 1\)"):
        rank_class_table(np.array([1]), [KINDS[0]] * 2, one, one)
    with pytest.raises(ValueError, match="start at 1"):
        rank_class_table(np.array([0]), [KINDS[0]], one, one)
