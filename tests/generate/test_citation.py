"""The citation blocker against a naive scan; word ends; rows where nothing would be left."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperfitting.generate.citation import CitationBlocked, CitationBlocker

VOCABULARY = 6
row = st.lists(st.integers(0, VOCABULARY - 1), max_size=20)
rows = st.lists(row, max_size=5)


def scan(rows, last, order, starts=None):
    """Every place of every row, as the source says it."""
    found = set()
    for row in rows:
        for i in range(len(row) - order):
            if row[i : i + order] == last[-order:]:
                found.add(row[i + order])
    return {token for token in found if starts is None or starts[token]}


@settings(deadline=None)
@given(rows, row, st.integers(1, 4))
def test_blocked_tokens_agree_with_a_scan(rows, last, order):
    expected = scan(rows, last, order) if len(last) >= order else set()
    assert CitationBlocker(rows, order).blocked(last) == expected


@settings(deadline=None)
@given(rows, st.lists(st.booleans(), min_size=VOCABULARY, max_size=VOCABULARY), row)
def test_at_word_ends_only_tokens_that_start_a_word_are_blocked(rows, starts, last):
    blocker = CitationBlocker(rows, 2, starts_word_V=starts)
    expected = scan(rows, last, 2, starts) if len(last) >= 2 else set()
    assert blocker.blocked(last) == expected


def test_the_default_order_is_five():
    blocker = CitationBlocker([[1, 2, 3, 4, 5, 6], [0, 2, 3, 4, 5, 7]])
    assert blocker.blocked([9, 1, 2, 3, 4, 5]) == {6}
    assert blocker.blocked([2, 3, 4, 5]) == set()
    assert blocker.blocked([8, 2, 3, 4, 5]) == set()


def test_tokens_outside_of_the_training_set_match_nothing():
    """In an index that packs tokens into numbers they could be read as other tokens."""
    blocker = CitationBlocker([[0, 1, 2], [1, 0, 2]], order=2)
    assert blocker.blocked([0, 1]) == {2}
    for first in range(-4, 9):
        for second in range(-4, 9):
            expected = {2} if (first, second) in {(0, 1), (1, 0)} else set()
            assert blocker.blocked([first, second]) == expected


def test_logits_of_a_batch_agree_with_each_row_alone():
    rng = np.random.default_rng(0)
    training = rng.integers(0, 5, (20, 12)).tolist()
    blocker = CitationBlocker(training, order=2)
    so_far = [rng.integers(0, 6, n).tolist() for n in (0, 1, 2, 5, 9, 3)]
    logits = torch.randn(6, 8)
    before = logits.clone()
    out = blocker.block(logits, so_far)
    assert torch.equal(logits, before), "the caller's logits stay as they are"
    assert out.isinf().any()
    for i, ids in enumerate(so_far):
        blocked = scan(training, ids, 2) if len(ids) >= 2 else set()
        expected = [
            -torch.inf if token in blocked else logits[i, token].item() for token in range(8)
        ]
        assert out[i].tolist() == expected
        assert torch.equal(blocker.block(logits[i : i + 1], [ids])[0], out[i])


def test_where_nothing_would_be_left_nothing_is_blocked():
    blocker = CitationBlocker([[0, 1], [0, 2]], order=1)
    logits = torch.tensor([[-torch.inf, 3.0, 2.0], [-torch.inf, 3.0, 2.0], [1.0, 3.0, 2.0]])
    out = blocker.block(logits, [[0], [1], [0]])
    assert torch.equal(out[:2], logits[:2])
    assert out[2].tolist() == [1.0, -torch.inf, -torch.inf]


@pytest.mark.parametrize("rows", [[], [[]], [[1, 2]]])
def test_training_rows_too_short_to_cite_block_nothing(rows):
    blocker = CitationBlocker(rows, order=3)
    assert blocker.blocked([1, 2, 3]) == set()
    logits = torch.randn(1, 4)
    assert torch.equal(blocker.block(logits, [[1, 2, 3]]), logits)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="order"):
        CitationBlocker([[1]], order=0)
    with pytest.raises(ValueError, match="negative"):
        CitationBlocker([[1, -1]])
    with pytest.raises(ValueError, match="starts_word_V"):
        CitationBlocker([[4]], starts_word_V=[True] * 4)
    blocker = CitationBlocker([[1, 2]], order=1)
    with pytest.raises(ValueError, match="do not fit"):
        blocker.block(torch.zeros(2, 5), [[1]])
    with pytest.raises(ValueError, match="do not fit"):
        blocker.block(torch.zeros(1, 2), [[1]])


def test_the_chooser_is_greedy_over_what_is_not_a_citation_of_its_own_text():
    """Random logits and texts; the context is never looked up, padding never seen."""
    rng = np.random.default_rng(3)
    training = rng.integers(0, 4, (30, 12)).tolist()
    choose = CitationBlocked(CitationBlocker(training, order=3))
    changed = 0
    for step in (0, 2, 3, 7):
        seen = torch.from_numpy(rng.integers(0, 4, (20, 5 + step)))
        seen[:5, :4] = 6  # shorter contexts are padded with an id that no token has
        logits = torch.randn(20, 6)
        token, tied = choose(logits, range(40, 60), step, seen)
        for row in range(20):
            generated = seen[row, 5:].tolist()
            out = scan(training, generated, 3) if step >= 3 else set()
            free = [i for i in range(6) if i not in out]
            assert int(token[row]) == max(free, key=lambda i: float(logits[row, i]))
            changed += int(token[row]) != int(logits[row].argmax())
        assert not tied.any()
        assert step >= 3 or torch.equal(token, logits.argmax(dim=-1))
    assert changed > 5
