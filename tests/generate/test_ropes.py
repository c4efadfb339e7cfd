"""Models with two ropes: a text is read as it is alone and whole, on both sides of the switch."""

import pytest
import torch

from hyperfitting.generate.beam import beam_search
from hyperfitting.generate.decode import decode
from hyperfitting.generate.feed import said_of
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import parse_decoder
from hyperfitting.generate.stepper import Stepper
from tests.conftest import random_rows
from tests.generate import naive
from tests.generate.test_families import whole_text_anew
from tests.generate.test_feed import Swallows, beams_of
from tests.tiny import tiny_model, two_ropes

SWITCH = 16
FAMILIES = ["llama", "phi3"]  # of phi3 every layer has a sliding window
LENGTHS = [3, 11, 11, 16, 24]
CONTEXTS = [random_rows(1, length, seed=n)[0] for n, length in enumerate(LENGTHS)]
COUNT = 8  # the first context stays below, the last one begins beyond


def widths_of(model):
    """Shapes of the tokens that the model is fed from now on."""
    shapes = []
    real = model.forward

    def noting(input_ids=None, past_key_values=None, use_cache=None, attention_mask=None,
               position_ids=None, logits_to_keep=0, **options):  # fmt: skip
        shapes.append(tuple(input_ids.shape))
        return real(
            input_ids, past_key_values=past_key_values, use_cache=use_cache,
            attention_mask=attention_mask, position_ids=position_ids,
            logits_to_keep=logits_to_keep, **options,
        )  # fmt: skip

    model.forward = noting
    return shapes


def test_a_row_that_passes_the_switch_is_read_otherwise_from_its_begin():
    model = two_ropes()
    (row,) = random_rows(1, SWITCH + 1)
    with torch.no_grad():
        logits = {n: model(torch.tensor([row[:n]])).logits[0, :9] for n in (9, SWITCH, SWITCH + 1)}
    torch.testing.assert_close(logits[9], logits[SWITCH])
    assert (logits[SWITCH + 1] - logits[SWITCH]).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_is_that_of_the_whole_text_anew(family):
    model = two_ropes(family)
    for batch_size in (len(CONTEXTS), 1):
        found = decode(model, CONTEXTS, max_new_tokens=COUNT, batch_size=batch_size)
        assert [t.ids for t in found] == [whole_text_anew(model, c, COUNT) for c in CONTEXTS]


def test_greedy_text_without_a_cache_is_that_too():
    model = two_ropes()
    expected = [whole_text_anew(model, c, COUNT) for c in CONTEXTS]
    Swallows(model, ["past_key_values", "use_cache"])
    assert [t.ids for t in decode(model, CONTEXTS, max_new_tokens=COUNT)] == expected


def test_the_cache_is_started_anew_once_and_only_beyond_the_switch():
    model = two_ropes()
    decode(model, CONTEXTS[:1], max_new_tokens=2)  # the proof is behind us
    shapes = widths_of(model)
    decode(model, CONTEXTS[1:2], max_new_tokens=9)
    assert [width for _, width in shapes] == [11, 1, 1, 1, 1, 1, 17, 1, 1]
    shapes.clear()
    decode(model, CONTEXTS[:2], max_new_tokens=6)  # fed up to 16 tokens
    assert shapes == [(2, 11)] + [(2, 1)] * 5


def test_texts_below_the_switch_run_together():
    stepper = Stepper(two_ropes(), CONTEXTS[:4])
    stepper.logits()
    assert stepper.groups == [[0, 1, 2, 3]]
    long = Stepper(two_ropes(), CONTEXTS)
    long.logits()
    assert long.groups == [[0], [1, 2], [3], [4]]


@pytest.mark.parametrize("family", FAMILIES)
def test_contrastive_search_is_the_naive_one(family):
    model = two_ropes(family)
    spec = parse_decoder("contrastive_search:alpha=0.6,k=3")
    found = run_decoder(spec, model, CONTEXTS, max_new_tokens=COUNT)
    for context, text in zip(CONTEXTS, found, strict=True):
        assert text.ids == naive.contrastive_search(model, context, COUNT, alpha=0.6, k=3)


def test_adaptive_contrastive_search_is_the_naive_one():
    model = two_ropes()
    found = run_decoder(
        parse_decoder("adaptive_contrastive_search"), model, CONTEXTS[1:], max_new_tokens=7
    )
    for context, text in zip(CONTEXTS[1:], found, strict=True):
        assert text.ids == naive.adaptive_contrastive_search(model, context, 7, q=1)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_beam_search_is_the_naive_one(family):
    model = two_ropes(family)
    found = beam_search(model, CONTEXTS, beams=3, max_new_tokens=6)
    for context, text in zip(CONTEXTS, found, strict=True):
        assert text.ids == beams_of(model, context, 6, 3)


def test_an_amateur_with_two_ropes_sees_its_own_text():
    expert, amateur = tiny_model(), two_ropes(seed=1)
    spec = parse_decoder("contrastive_decoding:alpha=0.1,amateur_temperature=1")
    found = run_decoder(spec, expert, CONTEXTS, max_new_tokens=COUNT, amateur=amateur)
    for context, text in zip(CONTEXTS, found, strict=True):
        assert text.ids == naive.contrastive_decoding(
            expert, amateur, context, COUNT, alpha=0.1, temperature=1
        )


def test_it_is_said_where_texts_get_there():
    model = two_ropes()
    assert said_of(model, longest=SWITCH) is None
    assert "anew where a text passes 16 tokens" in said_of(model, longest=SWITCH + 1)
    assert said_of(tiny_model(), longest=100) is None
