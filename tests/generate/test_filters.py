"""Decoders that cut a distribution, against transformers and against the formulas."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import GenerationConfig

from hyperfitting.generate.filters import TopNSigma, filtered
from hyperfitting.generate.run import chooser, run_decoder
from hyperfitting.generate.specs import parse_decoder
from tests.conftest import random_rows

# What transformers' generate calls the same things; penalties leave decoding greedy.
THEIRS = {
    "temperature:0.6": {"temperature": 0.6},
    "top_k:7": {"top_k": 7},
    "top_p:0.7": {"top_p": 0.7},
    "min_p:0.2": {"min_p": 0.2},
    "typical:0.5": {"typical_p": 0.5},
    "epsilon:0.02": {"epsilon_cutoff": 0.02},
    "eta:0.02": {"eta_cutoff": 0.02},
    "top_h:0.4": {"top_h": 0.4},
    "top_p:0.9,temperature:0.7,top_k:50": {"temperature": 0.7, "top_k": 50, "top_p": 0.9},
    "eta:0.01+min_p:0.03+temperature:1.5+repetition_penalty:1.3+typical:0.9": {
        "temperature": 1.5, "min_p": 0.03, "typical_p": 0.9, "eta_cutoff": 0.01,
        "repetition_penalty": 1.3,
    },
    "repetition_penalty:1.5": {"repetition_penalty": 1.5},
    "no_repeat_ngram:2": {"no_repeat_ngram_size": 2},
    "no_repeat_ngram:3,repetition_penalty:1.1": {
        "no_repeat_ngram_size": 3, "repetition_penalty": 1.1,
    },
}  # fmt: skip


@pytest.mark.parametrize("text", THEIRS)
def test_every_step_has_the_distribution_of_transformers(model, text):
    spec = parse_decoder(text)
    torch.manual_seed(0)
    context = torch.tensor([random_rows(1, 4)[0] + [5, 9, 8, 5, 9]])
    found = model.generate(
        context,
        generation_config=GenerationConfig(
            **{"top_k": 0} | THEIRS[text], do_sample=not spec.is_deterministic,
            max_new_tokens=12, eos_token_id=None, pad_token_id=0,
            output_scores=True, output_logits=True, return_dict_in_generate=True,
        ),
    )  # fmt: skip
    choose = filtered(spec, [[0]])
    changed = 0
    for step, (raw, theirs) in enumerate(zip(found.logits, found.scores, strict=True)):
        ours = choose.filtered(raw, found.sequences[:, : 9 + step])
        assert torch.equal(ours, theirs)
        changed += int((ours != raw).sum())
    assert changed > 0


@pytest.mark.parametrize("text", [t for t in THEIRS if parse_decoder(t).is_deterministic])
def test_penalties_write_what_transformers_writes(any_model, text):
    contexts = [[3, 7, 3, 7, 3], *random_rows(2, 9)]  # the first one is padded
    ours = run_decoder(parse_decoder(text), any_model, contexts, max_new_tokens=20, banned=[0])
    config = GenerationConfig(
        **THEIRS[text], max_new_tokens=20, suppress_tokens=[0], pad_token_id=0, eos_token_id=0
    )
    for context, each in zip(contexts, ours, strict=True):
        expected = any_model.generate(torch.tensor([context]), generation_config=config)
        assert each.ids == expected[0, len(context) :].tolist()


def test_no_ngram_comes_twice(model):
    contexts = random_rows(4, 9)
    for context, text in zip(
        contexts,
        run_decoder(parse_decoder("no_repeat_ngram:2"), model, contexts, max_new_tokens=60),
        strict=True,
    ):
        ids = context + text.ids
        pairs = list(itertools.pairwise(ids[8:]))  # from the first that was chosen
        assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("n", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 7.0])
def test_top_n_sigma_keeps_what_the_formula_keeps_at_any_temperature(n, temperature):
    logits = torch.randn(6, 400, generator=torch.manual_seed(2)) * 3
    logits[:, [1, 7]] = -torch.inf
    found = TopNSigma(n)(None, logits / temperature)
    for row, kept in zip(logits.double().numpy(), found, strict=True):
        allowed = row[np.isfinite(row)]
        expected = row >= row.max() - n * np.std(allowed)
        assert kept.isfinite().tolist() == expected.tolist()
        assert 0 < expected.sum() < 398
    left = found.isfinite()
    assert torch.equal(found[left], (logits / temperature)[left])


@pytest.mark.parametrize(
    "text", ["top_p:0.7", "top_k:3,temperature:0.5", "min_p:0.2", "top_n_sigma:1", "top_h:0.5"]
)
def test_draws_follow_the_distribution_that_is_left(text):
    number = 20_000
    logits = torch.tensor([0.0, 1.0, 2.0, -torch.inf, 0.5, 1.9, -1.0, 1.2])
    spec = parse_decoder(text)
    choose = chooser(spec, [[3, n] for n in range(number)])
    seen = torch.zeros(number, 1, dtype=torch.long)
    tokens, tied = choose(logits.expand(number, -1), range(number), 0, seen)
    left = filtered(spec, [[0]]).filtered(logits[None], seen[:1])[0]
    expected = left.double().softmax(0).numpy() * number
    counts = np.bincount(tokens, minlength=8)
    kept = expected > 0
    assert counts[~kept].sum() == 0
    assert 1 < kept.sum() < 7
    assert stats.chisquare(counts[kept], expected[kept]).pvalue > 1e-3
    assert not tied.any()
