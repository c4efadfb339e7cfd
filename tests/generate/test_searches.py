"""Decoders with a state or a second look, against plain loops over one text."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import GenerationConfig

from hyperfitting.errors import InputError
from hyperfitting.generate.contrastive import Adaptive
from hyperfitting.generate.contrastive_decoding import require_same_vocabulary
from hyperfitting.generate.guard import Guard, adjusted
from hyperfitting.generate.mirostat import Mirostat
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import parse_decoder
from tests.conftest import random_rows
from tests.generate import naive
from tests.tiny import byte_tokenizer, tiny_model

CONTEXTS = [random_rows(1, length, seed=length)[0] for length in (5, 12, 8)]
SEEDS = [[7, n] for n in range(3)]


def run(text, model, contexts=CONTEXTS, **options):
    spec = parse_decoder(text)
    if not spec.is_deterministic:
        options.setdefault("seeds_N", SEEDS)
    options.setdefault("max_new_tokens", 10)
    return [each.ids for each in run_decoder(spec, model, contexts, **options)]


# gemma2: some layers see a window only and keep a cache of another kind
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_contrastive_search_is_the_plain_loop(family):
    model = tiny_model(family)
    found = run("contrastive_search:alpha=0.6,k=4", model)
    for context, ids in zip(CONTEXTS, found, strict=True):
        assert ids == naive.contrastive_search(model, context, 10, alpha=0.6, k=4)
    assert found != run("greedy", model)


def test_contrastive_search_keeps_banned_tokens_out(model):
    banned = [0, *range(3, 260)]  # fewer tokens than candidates
    found = run("contrastive_search:alpha=1,k=5", model, banned=banned)
    assert {token for ids in found for token in ids} <= {1, 2}
    for context, ids in zip(CONTEXTS, found, strict=True):
        expected = naive.contrastive_search(model, context, 10, alpha=1, k=5, banned=banned)
        assert ids == expected


def test_contrastive_search_without_a_weight_or_a_choice_is_greedy(model):
    expected = run("greedy", model)
    assert run("contrastive_search:alpha=0,k=7", model) == expected
    assert run("contrastive_search:alpha=0.9,k=1", model) == expected


@pytest.mark.parametrize(("family", "q"), [("llama", 8), ("gemma2", 100)])
def test_adaptive_contrastive_search_is_the_plain_loop(family, q):
    model = tiny_model(family)
    found = run(f"adaptive_contrastive_search:{q}", model, batch_size=64)
    plans = []
    for context, ids in zip(CONTEXTS, found, strict=True):
        expected, plan = naive.adaptive_contrastive_search(model, context, 10, q=q)
        assert ids == expected
        assert plan[0] == (10, 0.5), "nothing to compare with yet"
        plans.append(plan)
    assert len({k for plan in plans for k, _ in plan}) > 2
    assert len({plan[5] for plan in plans}) > 1, "each text has its own k and alpha"


def test_the_plan_starts_anew_with_every_batch():
    plan, logits = Adaptive(2.0), torch.randn(2, 50, generator=torch.manual_seed(0))
    first = plan(logits, 0)
    plan(logits * 3, 1)
    again = plan(logits, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("options", [{"window": 4, "decay": 0.9, "temperature": 0.8},
                                     {"window": 7, "decay": 0.95}])  # fmt: skip
def test_guard_is_the_plain_loop(family, options):
    model = tiny_model(family)
    text = "guard:" + ",".join(f"{k}={v}" for k, v in options.items())
    found = run(text, model, max_new_tokens=16)
    plans = []
    for context, seed, ids in zip(CONTEXTS, SEEDS, found, strict=True):
        expected, plan = naive.guard(model, context, 16, seed=seed, **options)
        assert ids == expected
        plans += plan
    assert plans[0] == (10, 0.5)
    assert len({k for k, _ in plans}) > 1


@pytest.mark.parametrize("window", [2, 3, 7])
def test_guard_follows_the_formula_over_the_whole_range_of_entropies(window):
    rng = np.random.default_rng(0)
    entropies = rng.uniform(0, np.log(500), (40, 30)) * rng.choice([0.01, 1], (40, 30))
    for steps in (1, 2, window - 1, window, window + 1, 30):
        found = adjusted(
            torch.from_numpy(entropies[:, :steps]), vocabulary=500, window=window, decay=0.9
        )
        for row, k, alpha in zip(entropies.tolist(), *(x.tolist() for x in found), strict=True):
            expected = naive.guard_k_alpha(row[:steps], 500, window, 0.9)
            assert k == expected[0]
            assert alpha == pytest.approx(expected[1], abs=1e-12)
            assert 5 <= k <= 14


def test_guard_draws_by_probability_and_earlier_occurrences():
    number, logits = 30_000, torch.linspace(3, 0, 40)
    choose = Guard(7, 0.95, [[1, n] for n in range(number)])
    seen = torch.tensor([[40, 0, 0, 3]]).expand(number, -1)  # 40 is padding
    tokens, _ = choose(logits.expand(number, -1), range(number), 0, seen)
    expected = logits.double().softmax(0)[:10].numpy()  # k is 10 and alpha 0.5 at the start
    expected[0] *= 0.25
    expected[3] *= 0.5
    counts = np.bincount(tokens, minlength=40)
    assert counts[10:].sum() == 0
    assert stats.chisquare(counts[:10], expected / expected.sum() * number).pvalue > 1e-3


@pytest.mark.parametrize(("tau", "eta"), [(3.0, 0.5), (4.0, 1.5)])
def test_mirostat_is_the_plain_loop(any_model, tau, eta):
    found = run(f"mirostat:tau={tau},eta={eta}", any_model, max_new_tokens=16)
    numbers = []
    for context, seed, ids in zip(CONTEXTS, SEEDS, found, strict=True):
        expected, kept = naive.mirostat(any_model, context, 16, seed=seed, tau=tau, eta=eta)
        assert ids == expected
        numbers += kept
    assert len(set(numbers)) > 3, "mu moves"


def test_mirostat_reaches_the_surprise_it_aims_at():
    choose = Mirostat(tau=2.5, eta=0.1, seeds_N=[[3, n] for n in range(64)])
    logits = torch.randn(64, 300, generator=torch.manual_seed(0)) * 2
    surprises = []
    for step in range(400):
        before = choose.mu_B
        choose(logits, range(64), step)
        if step > 100:
            surprises.append((before - choose.mu_B) / 0.1 + 2.5)
    assert float(torch.stack(surprises).mean()) == pytest.approx(2.5, abs=0.05)


def test_mirostat_always_keeps_the_most_probable_token():
    choose = Mirostat(tau=1e-6, eta=0.1, seeds_N=[[0]])
    token, _ = choose(torch.tensor([[0.0, 0.1, 0.0]]), range(1), 0)
    assert token.tolist() == [1]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_contrastive_decoding_is_the_plain_loop(any_model, temperature):
    amateur = tiny_model(any_model.config.model_type, blocks=1, seed=3)
    text = f"contrastive_decoding:alpha=0.1,amateur_temperature={temperature}"
    found = run(text, any_model, amateur=amateur)
    for context, ids in zip(CONTEXTS, found, strict=True):
        assert ids == naive.contrastive_decoding(
            any_model, amateur, context, 10, alpha=0.1, temperature=temperature
        )
    assert found != run("greedy", any_model)


def test_a_model_contrasted_with_itself_is_greedy_where_only_the_best_token_is_plausible(model):
    assert run("contrastive_decoding:1", model, amateur=model) == run("greedy", model)


def test_an_amateur_is_needed_and_must_have_the_same_vocabulary(model):
    with pytest.raises(InputError, match="none was given"):
        run("contrastive_decoding", model)
    small = tiny_model(vocab_size=257)
    with pytest.raises(InputError, match="257 tokens, the model has 260"):
        run("contrastive_decoding", model, amateur=small)
    assert run("contrastive_decoding", model, amateur=small, banned=[257, 258, 259])
    large = tiny_model(vocab_size=300)
    assert len(run("contrastive_decoding", model, amateur=large)) == 3

    tokens = byte_tokenizer().get_vocab()
    require_same_vocabulary(tokens, dict(tokens))
    with pytest.raises(InputError, match="2 of 257 tokens differ"):
        require_same_vocabulary(tokens, tokens | {"a": tokens["b"], "b": tokens["a"]})


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beam_search_is_transformers_own(any_model, penalty):
    config = GenerationConfig(
        num_beams=3, max_new_tokens=10, eos_token_id=[4, 9], pad_token_id=0, length_penalty=penalty
    )
    any_model.generation_config.repetition_penalty = 5.0  # must not count
    found = run(f"beam:beams=3,length_penalty={penalty}", any_model, ends=[4, 9])
    any_model.generation_config.repetition_penalty = None
    for context, ids in zip(CONTEXTS, found, strict=True):
        expected = any_model.generate(torch.tensor([context]), generation_config=config)
        assert ids == [i for i in expected[0, len(context) :].tolist() if i]


def test_a_beam_wide_enough_finds_the_most_probable_text(model):
    banned = [i for i in range(260) if i not in (5, 80, 200)]
    found = run("beam:27", model, CONTEXTS[:1], max_new_tokens=3, banned=banned)

    def score(text):
        ids, total = list(CONTEXTS[0]), 0.0
        for token in text:
            total += np.log(naive.softmax(naive.forward(model, ids, banned)[0])[token])
            ids.append(token)
        return total

    assert found[0] == list(max(itertools.product([5, 80, 200], repeat=3), key=score))
    assert model.generation_config.max_new_tokens is None
