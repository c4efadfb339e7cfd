"""Logits of a large vocabulary are let go before the next ones are computed."""

import weakref

import pytest
import torch

from hyperfitting.compare.scores import compare_rows
from hyperfitting.export.checks import check_logits
from hyperfitting.models import forward
from hyperfitting.models.anatomy import Anatomy
from hyperfitting.models.pair import make_pair
from hyperfitting.train import engine
from hyperfitting.train.memorised import memorised
from tests.conftest import random_rows
from tests.tiny import VOCABULARY, tiny_model
from tests.train.running import build, settings

ROWS, SCORED = random_rows(5, 12), 4


def watched(own, most):
    """`own`, refused where more than `most` of its earlier results are still in memory.

    A tensor made from an array keeps that array, and so do all views of the tensor.
    """
    alive = []

    def compute(*args):
        held = sum(array() is not None for array in alive)
        assert held <= most, f"{held} earlier logits are held while new ones are computed"
        array = own(*args).detach().numpy().copy()
        alive.append(weakref.ref(array))
        return torch.from_numpy(array)

    compute.calls = alive
    return compute


@pytest.fixture(autouse=True)
def one_row_a_pass(monkeypatch):
    monkeypatch.setattr(forward, "LOGITS_PER_PASS", 0)
    monkeypatch.setattr(forward, "POSITIONS_PER_PASS", 1)


@pytest.mark.parametrize("score", ["nll_rows", "score_rows", "choose_rows", "rank_rows"])
def test_a_model_alone(score, monkeypatch):
    logits = watched(forward.logits_of, 0)
    monkeypatch.setattr(forward, "logits_of", logits)
    getattr(forward, score)(tiny_model(), ROWS, SCORED)
    assert len(logits.calls) == len(ROWS)


@pytest.mark.parametrize("reads", ["compare_rows", "check_logits"])
def test_two_models_side_by_side(reads, monkeypatch):
    """One row of each: the other model's is there while the second is computed."""
    logits = watched(Anatomy.logits, 1)
    monkeypatch.setattr(Anatomy, "logits", logits)
    pair = make_pair(tiny_model(), tiny_model(seed=1))
    if reads == "compare_rows":
        compare_rows(pair, ROWS, SCORED, VOCABULARY)
    else:
        check_logits(pair, ROWS, SCORED)
    assert len(logits.calls) == 2 * len(ROWS)


def test_a_model_in_training(monkeypatch):
    logits = watched(engine.head_logits, 0)
    monkeypatch.setattr(engine, "head_logits", logits)
    _, setup, _ = build(tiny_model(), settings())
    memorised(setup.engine, setup.train, 4, 8)
    assert len(logits.calls) == 8
