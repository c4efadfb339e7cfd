"""Adaptive-p against a loop over one text, and what its state follows."""

import numpy as np
import pytest
import torch

from hyperfitting.generate.run import chooser, run_decoder
from hyperfitting.generate.specs import parse_decoder
from tests.conftest import random_rows
from tests.generate.naive import draw, forward, softmax, uniforms


def naive(model, context, count, *, seed, target, decay, least=0.0):
    """Also the wanted probability of every step."""
    ids, wanted = list(context), []
    total, weight = target / (1 - decay), 1 / (1 - decay)
    for u in uniforms(seed, count):
        p = softmax(forward(model, ids)[0])
        keep = [v for v in range(len(p)) if p[v] >= least * p.max()]
        p = {v: p[v] / p[keep].sum() for v in keep}
        want = min(max(2 * target - total / weight, 0), 1)
        wanted.append(want)
        apart = {v: abs(p[v] - want) / 0.3 for v in keep}
        shaped = {v: np.exp(5 - 10 * d * d / (1 + d)) for v, d in apart.items()}
        token = draw(shaped, u)
        total, weight = p[token] + decay * total, 1 + decay * weight
        ids.append(token)
    return ids[len(context) :], wanted


@pytest.mark.parametrize(("target", "decay"), [(0.02, 0.9), (0.5, 0.5), (0.0, 0.0), (1.0, 0.99)])
def test_a_text_is_the_loop_of_the_rule(model, target, decay):
    contexts = [random_rows(1, 6)[0], random_rows(1, 9, seed=2)[0]]
    found = run_decoder(
        parse_decoder(f"adaptive_p:{target},decay={decay}+min_p:0.5"), model, contexts,
        seeds_N=[[4, 0], [4, 1]], max_new_tokens=12,
    )  # fmt: skip
    for n, context in enumerate(contexts):
        expected, wanted = naive(
            model, context, 12, seed=[4, n], target=target, decay=decay, least=0.5
        )
        assert found[n].ids == expected
        assert wanted[0] == target
        assert target in (0.0, 1.0) or len(set(wanted)) > 2


def test_chosen_probabilities_come_near_the_target():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.15, 0.06, 0.04]]))
    for target in (0.1, 0.25, 0.4):
        choose = chooser(parse_decoder(f"adaptive_p:{target}"), [[9]])
        seen, p = [0], []
        for step in range(800):
            token, _ = choose(logits, range(1), step, torch.tensor([seen]))
            seen.append(int(token))
            p.append(float(logits.exp()[0, token]))
        assert np.mean(p) == pytest.approx(target, abs=0.05)
