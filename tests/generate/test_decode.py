"""Greedy decoding against transformers and against decoding without a cache."""

import pytest
import torch
from transformers import GenerationConfig

from hyperfitting.generate.decode import choose_greedy, decode_greedy
from tests.conftest import random_rows
from tests.tiny import tiny_model


@torch.no_grad()
def without_cache(model, context, count, banned=()):
    ids = list(context)
    for _ in range(count):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        logits[list(banned)] = -torch.inf
        ids.append(int(logits.argmax()))
    return ids[len(context) :]


def test_cached_equals_uncached(any_model):
    contexts = random_rows(4, 9)
    decoded = decode_greedy(any_model, contexts, max_new_tokens=20, banned=[0])
    for context, text in zip(contexts, decoded, strict=True):
        assert text.ids == without_cache(any_model, context, 20, [0])


def test_agrees_with_transformers(any_model):
    contexts = random_rows(4, 9)
    config = GenerationConfig(
        max_new_tokens=20, do_sample=False, suppress_tokens=[0], pad_token_id=0, eos_token_id=0
    )
    expected = any_model.generate(torch.tensor(contexts), generation_config=config)[:, 9:]
    decoded = decode_greedy(any_model, contexts, max_new_tokens=20, banned=[0])
    assert [text.ids for text in decoded] == expected.tolist()


def test_contexts_of_different_length_continue_as_they_do_alone(any_model):
    contexts = [random_rows(1, length, seed=length)[0] for length in (5, 12, 8)]
    together = decode_greedy(any_model, contexts, max_new_tokens=12)
    alone = [decode_greedy(any_model, [c], max_new_tokens=12)[0] for c in contexts]
    assert [text.ids for text in together] == [text.ids for text in alone]


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_batch_size_changes_nothing_here(model, batch_size):
    contexts = random_rows(7, 9)
    expected = decode_greedy(model, contexts, max_new_tokens=16, batch_size=7)
    assert decode_greedy(model, contexts, max_new_tokens=16, batch_size=batch_size) == expected


def test_a_text_stops_at_its_end_token_and_the_others_go_on(model):
    contexts = random_rows(6, 9)
    free = [text.ids for text in decode_greedy(model, contexts, max_new_tokens=16)]
    end = free[0][5]  # declare a token that the first text produces an end token
    decoded = [text.ids for text in decode_greedy(model, contexts, max_new_tokens=16, ends=[end])]
    for full, cut in zip(free, decoded, strict=True):
        stop = full.index(end) + 1 if end in full else 16
        assert cut == full[:stop]


def test_nothing_in_the_checkpoint_changes_the_decoder(model):
    contexts = random_rows(3, 9)
    expected = decode_greedy(model, contexts, max_new_tokens=16)
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.temperature = 9.0
    assert decode_greedy(model, contexts, max_new_tokens=16) == expected


def test_ties_go_to_the_smallest_id_and_are_counted():
    logits = torch.tensor([[0.0, 2.0, 1.0, 2.0], [3.0, 0.0, 0.0, 0.0]])
    token, tied = choose_greedy(logits)
    assert token.tolist() == [1, 0]
    assert tied.tolist() == [True, False]


def test_a_model_with_equal_logits_ties_at_every_step():
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    [text] = decode_greedy(model, random_rows(1, 4), max_new_tokens=5, banned=[0, 1])
    assert text.ids == [2] * 5
    assert text.num_ties == 5
