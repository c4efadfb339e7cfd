"""Several ways of one decoding are what each writes alone, and how likely the texts are."""

from dataclasses import replace

import pytest
import torch

from hyperfitting.generate import ways as module
from hyperfitting.generate.choose import Sample, greedy
from hyperfitting.generate.decode import decode
from hyperfitting.generate.feed import feed_of
from hyperfitting.generate.ways import Way, write_ways
from tests.tiny import FAMILIES, tiny_model

CONTEXTS = [[5, 6, 7], [9, 8], [3, 3, 8, 1], [2, 4], [11, 12, 13]]
BANNED = [1, 2]


def sampled(temperature, seed):
    return Sample([temperature] * len(CONTEXTS), [[seed, n] for n in range(len(CONTEXTS))])


def some_ways(**more):
    """Greedy to an end, and two draws that end sooner and later."""
    return [
        Way(choose=greedy, max_new_tokens=20, banned=BANNED, ends=[7, 30, 41], **more),
        Way(choose=sampled(0.7, 1), max_new_tokens=9, banned=BANNED, **more),
        Way(choose=sampled(1.3, 2), max_new_tokens=26, banned=[*BANNED, 7], **more),
    ]


@pytest.mark.parametrize(
    ("family", "batch_size"), [*((f, 6) for f in FAMILIES), ("llama", 1), ("llama", 15)]
)
def test_each_way_writes_what_it_writes_alone(family, batch_size):
    model = tiny_model(family)
    found = write_ways(model, CONTEXTS, some_ways(), batch_size=batch_size)
    for way, written in zip(some_ways(), found, strict=True):
        alone = decode(
            model, CONTEXTS, way.choose, max_new_tokens=way.max_new_tokens, banned=way.banned,
            ends=way.ends, batch_size=batch_size,
        )  # fmt: skip
        assert written.texts == alone
        assert len(written.seconds) == max(len(text.ids) for text in alone)
    assert len({tuple(text.ids) for written in found for text in written.texts}) > len(CONTEXTS)


def test_contexts_run_once_for_all_ways(monkeypatch):
    model, widths = tiny_model(), []
    feed_of(model), module.searching_feed_of(model)  # proved before what is counted
    plain = model.forward

    def forward(*args, **given):
        widths.append(tuple(given["input_ids"].shape))
        return plain(*args, **given)

    monkeypatch.setattr(model, "forward", forward)
    equal = [row[:2] for row in CONTEXTS]
    write_ways(model, equal, some_ways()[1:], batch_size=64)
    count = len(equal)
    assert widths == [(count, 2), *[(2 * count, 1)] * 8, *[(count, 1)] * 17]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 9])
def test_no_more_rows_run_together_than_are_asked_for(monkeypatch, batch_size):
    model, rows = tiny_model(), []
    feed_of(model), module.searching_feed_of(model)  # proved before what is counted
    plain = model.forward

    def forward(*args, **given):
        rows.append(len(given["input_ids"]))
        return plain(*args, **given)

    monkeypatch.setattr(model, "forward", forward)
    found = write_ways(model, CONTEXTS, some_ways(), batch_size=batch_size)
    assert max(rows) <= batch_size
    assert [w.texts for w in found] == [
        w.texts for w in write_ways(model, CONTEXTS, some_ways(), batch_size=64)
    ]


def test_rows_that_a_cache_does_not_repeat_are_written_way_by_way(monkeypatch):
    model = tiny_model()
    other = replace(feed_of(model), cache="none")
    monkeypatch.setattr(module, "searching_feed_of", lambda model: other)
    found = write_ways(model, CONTEXTS, some_ways(), batch_size=64)
    monkeypatch.undo()
    assert [w.texts for w in found] == [
        w.texts for w in write_ways(model, CONTEXTS, some_ways(), batch_size=64)
    ]


def test_how_likely_a_text_is_counts_no_banned_token_as_impossible():
    """By one pass over each whole text; bans change what is chosen, not how likely it is."""
    model = tiny_model()
    for written in write_ways(model, CONTEXTS, some_ways(is_heard=True), batch_size=64):
        for context, text, nll in zip(CONTEXTS, written.texts, written.nll, strict=True):
            ids = torch.tensor([[*context, *text.ids]])
            with torch.no_grad():
                logp = model(ids).logits[0].double().log_softmax(dim=-1)
            places = range(len(context) - 1, ids.shape[1] - 1)
            exact = -sum(float(logp[t, ids[0, t + 1]]) for t in places) / len(text.ids)
            assert nll == pytest.approx(exact, abs=1e-5)
    assert write_ways(model, CONTEXTS, some_ways(), batch_size=64)[0].nll == []
