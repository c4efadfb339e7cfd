"""Where the length of a row decides how it is read: numbers are those of each row alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hyperfitting.models.features import last_hidden_states
from hyperfitting.models.forward import nll_rows, window_losses
from hyperfitting.models.interface import crosses_switch, rope_switch
from hyperfitting.models.pair import make_pair, paired_logits
from hyperfitting.models.proof import require_causal
from tests.conftest import random_rows
from tests.tiny import tiny_model, two_ropes

LENGTHS = [5, 9, 9, 16, 17, 24]
ROWS = [random_rows(1, length, seed=n)[0] for n, length in enumerate(LENGTHS)]


def config(**own):
    text = SimpleNamespace(**own)
    return SimpleNamespace(get_text_config=lambda: text)


ORIGINAL = "original_max_position_embeddings"
LONG = {"rope_type": "longrope", ORIGINAL: 64}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, None),
        ({"rope_parameters": None}, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, None),
        ({"rope_parameters": LONG | {"rope_type": "yarn"}}, None),
        ({"rope_parameters": LONG}, 64),
        ({"rope_parameters": {"full_attention": LONG, "sliding_attention": None}}, 64),
        ({"rope_parameters": {"a": LONG, "b": LONG | {ORIGINAL: 32}}}, 32),
        ({"rope_scaling": {"type": "su"}, ORIGINAL: 48}, 48),
    ],
)  # fmt: skip
def test_the_switch_is_read_from_the_config(own, expected):
    assert rope_switch(config(**own)) == expected


def test_lengths_on_both_sides_of_the_switch():
    found = {n: crosses_switch(config(rope_parameters=LONG), [n, n + 2]) for n in (62, 63, 64, 65)}
    assert found == {62: False, 63: True, 64: True, 65: False}
    assert not crosses_switch(config(), [1, 10_000])


@pytest.mark.parametrize("switch", [2, 5, 8, 9, 10, 11, 12])
def test_a_switch_within_the_rows_of_the_proof_is_no_look_ahead(switch):
    require_causal(two_ropes(switch=switch))


def nll_alone(model, row):
    with torch.no_grad():
        logp = model(torch.tensor([row]), use_cache=False).logits[0, :-1].log_softmax(-1)
    return -logp.gather(1, torch.tensor(row)[1:, None])[:, 0].numpy()


def padded(width):
    ids, label = np.zeros((len(ROWS), width), dtype=np.int64), np.zeros((len(ROWS), width), bool)
    for n, row in enumerate(ROWS):
        ids[n, : len(row)], label[n, 1 : len(row)] = row, True
    return ids, label, np.array(LENGTHS)


@pytest.mark.parametrize("width", [24, 40])
@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_window_losses_are_those_of_each_window_alone(family, width):
    model = two_ropes(family)
    expected = [nll_alone(model, row).mean() for row in ROWS]
    np.testing.assert_allclose(window_losses(model, *padded(width)), expected, rtol=1e-4)


def test_windows_that_need_one_rope_run_together_as_ever():
    model, (ids, label, length) = tiny_model(), padded(24)
    nll = nll_rows(model, ids.tolist(), 23)
    expected = np.where(label[:, 1:], nll, 0).sum(axis=1) / label[:, 1:].sum(axis=1)
    assert window_losses(model, ids, label, length).tolist() == expected.tolist()


def test_features_are_those_of_each_text_alone():
    model = two_ropes()
    found = last_hidden_states(model, ROWS, batch_size=4)
    for row, feature_D in zip(ROWS, found, strict=True):
        with torch.no_grad():
            alone = model.base_model(input_ids=torch.tensor([row])).last_hidden_state[0, -1]
        np.testing.assert_allclose(feature_D, alone.numpy(), rtol=1e-3, atol=1e-4)


def test_pairs_score_each_row_at_its_own_length():
    pair = make_pair(two_ropes(), two_ropes(seed=1))
    for found in paired_logits(pair, ROWS, 4):
        row = torch.tensor([ROWS[found.row]])
        for model, logits_KV in ((pair.original, found.original_KV), (pair.tuned, found.tuned_KV)):
            with torch.no_grad():
                alone = model(row, use_cache=False).logits[0, -5:-1]
            torch.testing.assert_close(logits_KV, alone, rtol=1e-3, atol=1e-4)
