"""The longest common run and shared n-grams against brute force; planted copies; borders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperfitting.measure.overlap import (
    Overlap,
    TrainingIndex,
    longest_run,
    ngram_overlap,
    suffix_array,
)

few_tokens = st.integers(1, 5).flatmap(
    lambda size: st.tuples(
        st.lists(st.lists(st.integers(0, size), max_size=25), min_size=1, max_size=6).filter(any),
        st.lists(st.integers(0, size + 1), max_size=20),
    )
)


def common_prefix(a, b):
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length


def brute_lengths(rows, ids):
    return [
        max(common_prefix(ids[i:], row[j:]) for row in rows for j in range(len(row) + 1))
        for i in range(len(ids))
    ]


@settings(deadline=None)
@given(few_tokens)
def test_runs_agree_with_brute_force(case):
    rows, ids = case
    index = TrainingIndex(rows)
    lengths = brute_lengths(rows, ids)
    assert index.match_lengths([ids])[0].tolist() == lengths
    assert longest_run(index.match_lengths([ids])[0]) == max(lengths, default=None)
    [found] = index.longest_overlaps([ids])
    if not ids:
        assert found is None
        return
    assert found.length == max(lengths)
    if found.length == 0:
        assert found == Overlap(0, None, None, None)
        return
    assert found.start == lengths.index(found.length)
    run = ids[found.start : found.start + found.length]
    places = [
        (r, j)
        for r, row in enumerate(rows)
        for j in range(len(row))
        if row[j : j + found.length] == run
    ]
    assert (found.row, found.offset) == places[0]


@settings(deadline=None)
@given(few_tokens, st.integers(1, 5))
def test_ngram_overlap_agrees_with_sets(case, order):
    rows, ids = case
    known = {tuple(row[j : j + order]) for row in rows for j in range(len(row) - order + 1)}
    grams = [tuple(ids[i : i + order]) for i in range(len(ids) - order + 1)]
    found = ngram_overlap(TrainingIndex(rows).match_lengths([ids])[0], order)
    if not grams:
        assert found is None
    else:
        assert found == pytest.approx(sum(gram in known for gram in grams) / len(grams))


@settings(deadline=None)
@given(few_tokens)
def test_suffixes_are_in_order_up_to_their_separators(case):
    rows, _ = case
    suffixes = [row[j:] for row in rows for j in range(len(row) + 1)]
    text = np.array([token for row in rows for token in [*row, -1]], dtype=np.int32)
    order = suffix_array(text)
    assert sorted(order.tolist()) == list(range(len(text)))
    assert [suffixes[i] for i in order] == sorted(suffixes)


@pytest.mark.parametrize("largest", [50, 100_000])  # several tokens in a key, and few
def test_planted_copies_are_found_with_their_place(largest):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, largest, (200, 64)).tolist()
    fresh = largest + 1 + np.arange(96)  # tokens the training set does not have
    texts, expected = [], []
    for length in (1, 4, 11, 40, 64):
        row = int(rng.integers(200))
        offset = int(rng.integers(64 - length + 1))
        text = fresh.tolist()
        text[20 : 20 + length] = rows[row][offset : offset + length]
        texts.append(text)
        expected.append((length, 20, row, offset))
    found = TrainingIndex(rows).longest_overlaps(texts)
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    assert found[2:] == [Overlap(*each) for each in expected[2:]]  # long runs are unique


def test_one_token_over_and_over_and_rows_that_come_twice():
    """The worst case of prefix doubling."""
    rows = [[7] * 300, [7] * 300, list(range(200)), list(range(200))]
    index = TrainingIndex(rows)
    assert index.longest_overlaps([[7] * 400])[0] == Overlap(300, 0, 0, 0)
    assert index.longest_overlaps([[5, 5, *range(50, 150), 3]])[0] == Overlap(100, 2, 2, 50)


def test_no_run_crosses_the_border_of_two_rows():
    assert TrainingIndex([[1, 2], [3, 4]]).longest_overlaps([[1, 2, 3, 4]])[0].length == 2


def test_many_texts_at_once_are_as_alone():
    rng = np.random.default_rng(3)
    index = TrainingIndex(rng.integers(0, 9, (50, 40)))
    texts = [rng.integers(0, 9, n).tolist() for n in (0, 1, 30, 7, 0, 50)]
    assert index.longest_overlaps(texts) == [index.longest_overlaps([text])[0] for text in texts]
    assert [len(each) for each in index.match_lengths(texts)] == [0, 1, 30, 7, 0, 50]


def test_tokens_the_training_set_lacks_overlap_by_0():
    index = TrainingIndex([[1, 2, 3]])
    assert index.longest_overlaps([[9, 8]])[0].length == 0
    lengths = index.match_lengths([[9, 8], [1, 2, 9, 1, 2]])
    assert [ngram_overlap(each, 2) for each in lengths] == [0, pytest.approx(2 / 4)]
    assert [longest_run(each) for each in lengths] == [0, 2]


@pytest.mark.parametrize("rows", [[], [[]], [[1, -1]], [[2**31]]])
def test_bad_training_rows_are_refused(rows):
    with pytest.raises(ValueError, match="token"):
        TrainingIndex(rows)


def test_bad_questions_are_refused():
    index = TrainingIndex([[1, 2]])
    with pytest.raises(ValueError, match="token ids"):
        index.longest_overlaps([[-1]])
    with pytest.raises(ValueError, match="order"):
        ngram_overlap(index.match_lengths([[1]])[0], 0)
