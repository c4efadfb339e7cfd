"""Both modes from one decoding are what two decodings write, token for token and tie for tie."""

import itertools

import pytest
import torch

from hyperfitting.generate import both_modes, ways
from hyperfitting.generate.both_modes import GreedyInBothModes
from hyperfitting.generate.decode import decode
from hyperfitting.generate.ways import write_ways
from tests.tiny import tiny_model

CONTEXTS = [[5, 6, 7], [9, 8], [3, 3, 8, 1], [2, 4], [11, 12, 13]]
BANNED = [1, 2]


def two(model, contexts, length, natural, ends, batch_size):
    fixed = decode(
        model, contexts, max_new_tokens=length, banned=[*BANNED, *ends], batch_size=batch_size
    )
    texts = decode(
        model, contexts, max_new_tokens=natural, banned=BANNED, ends=ends, batch_size=batch_size
    )
    return fixed, texts


def found(model, contexts, length, natural, ends, batch_size, banned=BANNED):
    greedy = GreedyInBothModes(length=length, natural=natural, banned=banned, ends=ends)
    (written,) = write_ways(model, contexts, [greedy.way], batch_size=batch_size)
    return greedy.taken(written)


def both(*asked):
    texts = found(*asked)
    return texts.fixed, texts.natural


def often(model):
    """Tokens that greedy texts of this model contain, so that they end."""
    texts = decode(model, CONTEXTS, max_new_tokens=24, banned=BANNED)
    return [text.ids[place] for text, place in zip(texts, (0, 3, 9, 14, 20), strict=True)]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize(("length", "natural"), [(12, 24), (24, 12), (9, 9), (1, 30), (10, 1)])
def test_they_are_the_texts_of_two_decodings(length, natural, batch_size):
    model = tiny_model("llama")
    usual = often(model)
    ended = 0
    for ends in ([], usual[1:2], usual[:3], usual):
        expected = two(model, CONTEXTS, length, natural, ends, batch_size)
        assert both(model, CONTEXTS, length, natural, ends, batch_size) == expected
        ended += sum(text.ids[-1] in ends for text in expected[1])
    assert ended or natural == 1, "some texts ended themselves"


def test_ties_are_counted_as_two_decodings_count_them():
    """Equal rows of the head tie; one of a tie may be an end."""
    model = tiny_model("llama")
    usual = often(model)[3]
    with torch.no_grad():
        for twin in (usual + 1, usual + 2):
            model.lm_head.weight[twin] = model.lm_head.weight[usual]
    for ends in ([usual], [usual + 1], [usual, usual + 2]):
        expected = two(model, CONTEXTS, 20, 20, ends, 5)
        assert both(model, CONTEXTS, 20, 20, ends, 5) == expected
    assert any(text.num_ties for text in two(model, CONTEXTS, 20, 20, [], 5)[0])


def test_nothing_is_written_beyond_what_is_asked(monkeypatch):
    """The last step is the fixed length's where every text has ended, and nothing is run twice."""
    model, steps = tiny_model("llama"), []
    plain = both_modes.greedy
    monkeypatch.setattr(
        both_modes,
        "greedy",
        lambda logits, rows, step: steps.append(step) or plain(logits, rows, step),
    )
    both(model, CONTEXTS, 12, 30, [], 5)
    assert steps == list(range(30))
    steps.clear()
    vocabulary = model.config.vocab_size
    every = [i for i in range(vocabulary) if i not in BANNED][: vocabulary // 2]
    _, natural = two(model, CONTEXTS, 12, 30, every, 5)
    both(model, CONTEXTS, 12, 30, every, 5)
    last = max(12, *map(len, (text.ids for text in natural)))
    assert [key for key, _ in itertools.groupby(steps)] == list(range(last))


def test_the_seconds_are_those_of_the_fixed_length(monkeypatch):
    """Of two batches of 6 steps each; a step takes what lies between two looks at the clock."""
    clock = itertools.count()
    monkeypatch.setattr(ways.time, "perf_counter", lambda: next(clock))
    texts = found(tiny_model("llama"), CONTEXTS, 6, 20, [], 3, banned=[])
    assert texts.seconds == 2 * 6
