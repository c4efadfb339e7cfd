"""XTC against its rule, its random numbers, and what it must never remove."""

import numpy as np
import pytest
import torch

from hyperfitting.generate.choose import Uniforms
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import parse_decoder
from hyperfitting.generate.xtc import STREAM, Xtc
from tests.generate.naive import softmax

TEXTS = ["a", "b\n", "c", "d", "e", "f", "g", "h"]
END = 6


def xtc(threshold=0.1, probability=1.0, rows=1, texts=TEXTS, ends=(END,)):
    seeds = [[3, n] for n in range(rows)]
    return Xtc(threshold, probability, seeds_N=seeds, texts_V=texts, ends=ends)


def kept(process, logits, step=0, rows=None):
    process.watch(logits, range(len(logits)) if rows is None else rows, step)
    return process(None, logits).isfinite().tolist()


def naive(logits, threshold, spared):
    p = softmax(np.array(logits, dtype=np.float64))
    likely = [v for v in range(len(p)) if p[v] >= threshold]
    least = min((p[v] for v in likely), default=1)
    return [v in spared or not (v in likely and p[v] > least) for v in range(len(p))]


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.3, 0.5])
def test_what_is_removed_is_what_the_rule_removes(threshold):
    logits = 2 * torch.randn(40, 8, generator=torch.manual_seed(4))
    found = kept(xtc(threshold, rows=40), logits)
    assert found == [naive(row, threshold, {1, END}) for row in logits.tolist()]
    assert threshold == 0.5 or not all(map(all, found))


def test_fewer_than_two_likely_tokens_are_left_alone():
    assert kept(xtc(0.3), torch.tensor([[5.0, 0, 0, 0, 0, 0, 0, 0]])) == [[True] * 8]


def test_newlines_and_ends_are_never_removed():
    logits = torch.tensor([[3.0, 9, 2, 2.5, 0, 0, 8, 0]])  # 1 holds a newline, 6 ends a text
    assert kept(xtc(0.01), logits) == [[True, True, True, True, True, True, True, True]]
    plain = xtc(0.01, texts=["x"] * 8, ends=())
    assert kept(plain, logits)[0][1] is False


def test_the_draw_of_a_step_depends_on_the_seed_and_the_step_alone():
    logits = torch.tensor([[1.0, 0, 1.1, 1.2, 0, 0, 0, 0]] * 5)
    process = xtc(0.1, 0.5, rows=5)
    together = [kept(process, logits, step) for step in range(60)]
    for n in range(5):
        alone = xtc(0.1, 0.5, rows=5)
        for step in range(60):
            assert kept(alone, logits[:1], step, range(n, n + 1))[0] == together[step][n]
    removed = np.array([[not all(row) for row in step] for step in together])
    assert 0.4 < removed.mean() < 0.6
    assert len({tuple(column) for column in removed.T}) == 5


def test_its_numbers_are_not_those_that_tokens_are_drawn_with():
    own, others = (Uniforms([seed]) for seed in ([3, 0, STREAM], [3, 0]))
    assert not {own.at(0, n) for n in range(100)} & {others.at(0, n) for n in range(100)}


def test_probability_1_removes_at_every_step_and_needs_texts_and_seeds(model):
    spec = parse_decoder("xtc:probability=1")
    texts = ["x"] * 260
    options = {"max_new_tokens": 4, "seeds_N": [[0]]}
    assert run_decoder(spec, model, [[3, 4]], texts_V=texts, **options)
    with pytest.raises(ValueError, match="text of every token"):
        run_decoder(spec, model, [[3, 4]], **options)
    with pytest.raises(ValueError, match="a seed for every context"):
        run_decoder(spec, model, [[3, 4]], texts_V=texts, max_new_tokens=4)
