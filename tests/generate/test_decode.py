"""Greedy decoding against transformers and against decoding without a cache."""

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import DynamicCache, GenerationConfig

from hyperfitting.errors import InputError
from hyperfitting.generate.cache import RoomyLayer, roomy_cache
from hyperfitting.generate.choose import Sample, Shifted, Uniforms, greedy
from hyperfitting.generate.decode import decode
from hyperfitting.generate.feed import feed_of
from hyperfitting.generate.ways import even_batches
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
    decoded = decode(any_model, contexts, max_new_tokens=20, banned=[0])
    for context, text in zip(contexts, decoded, strict=True):
        assert text.ids == without_cache(any_model, context, 20, [0])


def test_agrees_with_transformers(any_model):
    contexts = random_rows(4, 9)
    config = GenerationConfig(
        max_new_tokens=20, do_sample=False, suppress_tokens=[0], pad_token_id=0, eos_token_id=0
    )
    expected = any_model.generate(torch.tensor(contexts), generation_config=config)[:, 9:]
    decoded = decode(any_model, contexts, max_new_tokens=20, banned=[0])
    assert [text.ids for text in decoded] == expected.tolist()


def test_contexts_of_different_length_continue_as_they_do_alone(any_model):
    contexts = [random_rows(1, length, seed=length)[0] for length in (5, 12, 8)]
    together = decode(any_model, contexts, max_new_tokens=12)
    alone = [decode(any_model, [c], max_new_tokens=12)[0] for c in contexts]
    assert [text.ids for text in together] == [text.ids for text in alone]


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_batch_size_changes_nothing_here(model, batch_size):
    contexts = random_rows(7, 9)
    expected = decode(model, contexts, max_new_tokens=16, batch_size=7)
    assert decode(model, contexts, max_new_tokens=16, batch_size=batch_size) == expected


def test_a_text_stops_at_its_end_token_and_the_others_go_on(model):
    contexts = random_rows(6, 9)
    free = [text.ids for text in decode(model, contexts, max_new_tokens=16)]
    end = free[0][5]  # declare a token that the first text produces an end token
    decoded = [text.ids for text in decode(model, contexts, max_new_tokens=16, ends=[end])]
    for full, cut in zip(free, decoded, strict=True):
        stop = full.index(end) + 1 if end in full else 16
        assert cut == full[:stop]


def test_nothing_in_the_checkpoint_changes_the_decoder(model):
    contexts = random_rows(3, 9)
    expected = decode(model, contexts, max_new_tokens=16)
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.temperature = 9.0
    assert decode(model, contexts, max_new_tokens=16) == expected


def test_ties_go_to_the_smallest_id_and_are_counted():
    logits = torch.tensor([[0.0, 2.0, 1.0, 2.0], [3.0, 0.0, 0.0, 0.0]])
    token, tied = greedy(logits, range(len(logits)), 0)
    assert token.tolist() == [1, 0]
    assert tied.tolist() == [True, False]


def test_a_model_with_equal_logits_ties_at_every_step():
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    [text] = decode(model, random_rows(1, 4), max_new_tokens=5, banned=[0, 1])
    assert text.ids == [2] * 5
    assert text.num_ties == 5


def test_samples_follow_the_tempered_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -torch.inf, 0.5]])
    number, temperature = 40_000, 0.7
    choose = Sample([temperature] * number, [[3, n] for n in range(number)])
    tokens, _ = choose(logits.expand(number, -1), range(number), 0)
    expected = torch.softmax(logits[0] / temperature, dim=0).double().numpy() * number
    counts = np.bincount(tokens.numpy(), minlength=5)
    assert counts[3] == 0
    kept = expected > 0
    assert stats.chisquare(counts[kept], expected[kept]).pvalue > 1e-3


def test_a_row_draws_the_same_alone_and_in_any_batch(model):
    contexts = random_rows(6, 9)
    choose = Sample([0.8] * 6, [[1, n] for n in range(6)])
    expected = decode(model, contexts, choose, max_new_tokens=30)
    for batch_size in (1, 4):
        again = Sample([0.8] * 6, [[1, n] for n in range(6)])
        assert decode(model, contexts, again, max_new_tokens=30, batch_size=batch_size) == expected
    other = Sample([0.8] * 6, [[2, n] for n in range(6)])
    assert decode(model, contexts, other, max_new_tokens=30) != expected


def test_a_low_temperature_is_greedy_and_none_is_refused(model):
    contexts = random_rows(4, 9)
    cold = Sample([1e-4] * 4, [[0, n] for n in range(4)])
    assert decode(model, contexts, cold, max_new_tokens=12) == decode(
        model, contexts, max_new_tokens=12
    )
    with pytest.raises(ValueError, match="positive"):
        Sample([0.0], [[0]])


def test_draws_of_a_long_text_go_on_where_they_were():
    uniforms = Uniforms([[5]])
    long = [uniforms.at(0, step) for step in (0, 500, 700)]
    assert long[0] == Uniforms([[5]]).at(0, 0)
    assert long[2] == np.random.default_rng([5]).random(701)[700]


def test_a_shift_moves_one_row_and_no_other(model):
    contexts = random_rows(3, 9)
    shift = torch.zeros(2, 260)
    shift[1, 7] = 1e4
    choose = Shifted(shift, [1.0, 1.0, 0.0], [0, 1, 1])
    plain = decode(model, contexts, max_new_tokens=8)
    shifted = decode(model, contexts, choose, max_new_tokens=8)
    assert shifted[0] == plain[0]
    assert shifted[1].ids == [7] * 8
    assert shifted[2] == plain[2], "strength 0 is the original"


@pytest.mark.parametrize("family", ["llama", "gemma2"])  # gemma2: some layers see a window only
def test_a_cache_that_grew_gives_the_same_texts(family):
    model = tiny_model(family)
    contexts = random_rows(2, 9)
    expected = [without_cache(model, context, 80) for context in contexts]
    found = decode(model, contexts, max_new_tokens=80)
    # A nearly tied choice may fall the other way; texts that agree so far cannot be by chance.
    assert [text.ids[:40] for text in found] == [ids[:40] for ids in expected]


def test_buffers_grow_and_hold_what_transformers_holds(model):
    ours, theirs = roomy_cache(model.config), DynamicCache(config=model.config)
    ids = torch.tensor(random_rows(2, 100))
    with torch.no_grad():
        for start, end in ((0, 60), (60, 99), (99, 100)):
            for cache in (ours, theirs):
                model(ids[:, start:end], past_key_values=cache, use_cache=True)
    assert ours.get_seq_length() == 100
    for mine, plain in zip(ours.layers, theirs.layers, strict=True):
        assert isinstance(mine, RoomyLayer)
        torch.testing.assert_close(mine.keys, plain.keys)
        torch.testing.assert_close(mine.values, plain.values)


@pytest.mark.parametrize(("count", "size"), [(0, 3), (1, 3), (3, 3), (4, 3), (520, 256), (60, 32)])
def test_batches_are_as_few_as_can_be_and_equally_wide(count, size):
    found = even_batches(count, size)
    assert [i for batch in found for i in batch] == list(range(count))
    assert len(found) == -(-count // size)
    widths = {len(batch) for batch in found}
    assert not widths or max(widths) - min(widths) <= 1 <= max(widths) <= size


def test_a_model_that_says_nothing_more_is_refused_and_is_fed_tokens_only(model):
    """As 16 bits do in a long text; an id that no token has would cost a process its GPU."""
    feed = feed_of(model)
    with torch.no_grad():
        model.lm_head.weight[3, 0] = torch.nan
    fed = []
    model.model.embed_tokens.register_forward_hook(lambda _, args, __: fed.append(args[0].max()))
    with pytest.raises(InputError, match=r"2 of 2 texts cannot be written: .*NaN\) after 0 tokens"):
        decode(model, random_rows(2, 9), max_new_tokens=4, feed=feed)
    assert len(fed) == 4
    assert max(fed) < model.config.vocab_size


def test_a_row_that_is_no_number_gets_an_id_that_no_token_has():
    logits = torch.tensor([[1.0, float("nan"), 2.0], [1.0, 3.0, 2.0]])
    token, tied = greedy(logits, range(2), 0)
    assert token.tolist() == [3, 1]
    assert tied.tolist() == [False, False]
