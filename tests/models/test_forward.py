"""Scores of a model against a naive softmax; rows alone and together; memory by construction."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from hyperfitting.models import forward, interface
from hyperfitting.models.forward import (
    choose_rows,
    nll_rows,
    window_losses,
    window_losses_beside,
)
from hyperfitting.models.interface import logits_of
from tests.conftest import random_rows
from tests.tiny import two_ropes


@torch.no_grad()
def naive(model, row):
    return model(torch.tensor([row])).logits[0].double().numpy()


def test_scores_agree_with_a_naive_softmax(any_model):
    rows = random_rows(3, 20)
    nll_NK, top1_NK = nll_rows(any_model, rows, 7), choose_rows(any_model, rows, 7)
    for n, row in enumerate(rows):
        logits = naive(any_model, row)[-8:-1]
        log_p = scipy.special.log_softmax(logits, axis=1)
        expected_K = -log_p[np.arange(7), row[-7:]]
        np.testing.assert_allclose(nll_NK[n], expected_K, rtol=1e-4, atol=1e-5)
        assert top1_NK[n].tolist() == logits.argmax(axis=1).tolist()


def test_rows_of_different_length_score_as_they_do_alone(model):
    rows = [random_rows(1, length, seed=length)[0] for length in (9, 15, 9, 12)]
    together = nll_rows(model, rows, 5)
    for n, row in enumerate(rows):
        alone = nll_rows(model, [row], 5)
        np.testing.assert_allclose(together[n], alone[0], rtol=1e-5)


def test_choices_are_those_of_the_scores_and_never_banned_ones(model):
    rows = random_rows(5, 12)
    free = choose_rows(model, rows, 6)
    plain = [naive(model, row)[-7:-1].argmax(axis=1) for row in rows]
    np.testing.assert_array_equal(free, plain)
    favourites = sorted(set(free.flatten().tolist()))
    banned = choose_rows(model, rows, 6, banned=favourites)
    for row, top1_K in zip(rows, banned, strict=True):
        logits_KV = model(torch.tensor([row])).logits[0, -7:-1].detach()
        logits_KV[:, favourites] = -torch.inf
        assert top1_K.tolist() == logits_KV.argmax(dim=-1).tolist()


def test_few_logits_at_a_time_give_the_same_scores(model, monkeypatch):
    rows = random_rows(5, 12)
    expected = nll_rows(model, rows, 6)
    widths = []
    real = forward.logits_of

    def counting(*args):
        widths.append(args[1].shape[0])
        return real(*args)

    monkeypatch.setattr(forward, "logits_of", counting)
    monkeypatch.setattr(forward, "LOGITS_PER_PASS", 1)
    monkeypatch.setattr(forward, "POSITIONS_PER_PASS", 12)
    np.testing.assert_allclose(nll_rows(model, rows, 6), expected, rtol=1e-5)
    assert widths == [2, 2, 1]
    widths.clear()
    monkeypatch.setattr(forward, "POSITIONS_PER_PASS", 1)
    np.testing.assert_allclose(nll_rows(model, rows, 6), expected, rtol=1e-5)
    assert widths == [1] * 5


def test_models_without_logits_to_keep_work_too(model, monkeypatch):
    ids = torch.tensor(random_rows(2, 10))
    with torch.no_grad():
        kept = logits_of(model, ids, 3)
        monkeypatch.setattr(interface, "accepted_arguments", lambda model: {"input_ids"})
        torch.testing.assert_close(logits_of(model, ids, 3), kept)


def test_window_loss_counts_labelled_tokens_only(model):
    ids = np.array(random_rows(2, 10))
    label = np.zeros((2, 10), dtype=bool)
    label[0, 1:] = True
    label[1, 4:6] = True
    nll = nll_rows(model, ids.tolist(), 9)
    expected = [nll[0].mean(), nll[1, 3:5].mean()]
    assert window_losses(model, ids, label, np.array([10, 10])) == pytest.approx(expected)


@pytest.mark.parametrize("known", [1, 5, 10, 11])
def test_losses_of_windows_whose_ends_are_scored_are_those_of_whole_windows(model, known):
    ids_NT = np.array(random_rows(4, 12, seed=5))
    label_NT = np.random.default_rng(0).random(ids_NT.shape) < 0.7
    whole_N = window_losses(model, ids_NT, label_NT, np.full(4, 12))
    nll_NK = nll_rows(model, ids_NT.tolist(), known)
    found_N = window_losses_beside(model, ids_NT, label_NT, nll_NK)
    np.testing.assert_allclose(found_N, whole_N, rtol=1e-5)


def test_losses_of_a_model_of_two_ropes_are_taken_from_whole_windows():
    """Its text before the known part would be read with the other rope."""
    model = two_ropes()
    ids_NT = np.array(random_rows(3, 24, seed=6))
    label_NT = np.ones_like(ids_NT, dtype=bool)
    nll_NK = nll_rows(model, ids_NT.tolist(), 10)
    found_N = window_losses_beside(model, ids_NT, label_NT, nll_NK)
    np.testing.assert_allclose(found_N, window_losses(model, ids_NT, label_NT, np.full(3, 24)))
    lead_NK = nll_rows(model, ids_NT[:, :14].tolist(), 13)
    joined_N = np.concatenate([lead_NK, nll_NK], axis=1).mean(axis=1)
    assert np.abs(joined_N - found_N).min() > 1e-4
