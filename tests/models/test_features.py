"""Text features against one text at a time through transformers; padding; limits; bad input."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hyperfitting.errors import InputError
from hyperfitting.models.features import last_hidden_states, last_token_features
from hyperfitting.models.proof import require_causal
from tests.conftest import random_rows
from tests.tiny import FAMILIES, save_tiny, tiny_model

ROWS = [random_rows(1, length, seed=length)[0] for length in (9, 1, 30, 4, 30, 17)]
TEXTS = ["A fox.", "x", "Once upon a time there was a king.", "été"]


@torch.no_grad()
def alone(model, ids):
    """The whole model on one text; its last entry of hidden states comes after the final norm."""
    return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_together_are_as_each_alone(family):
    model = tiny_model(family)
    found = last_hidden_states(model, ROWS, batch_size=4)
    assert found.dtype == np.float32
    for row, feature_D in zip(ROWS, found, strict=True):
        np.testing.assert_allclose(feature_D, alone(model, row), rtol=1e-4, atol=1e-5)


def test_the_head_is_not_run(model):
    def run(*_):
        raise AssertionError("logits were computed")

    require_causal(model)  # once for each model, with logits of a few tokens
    model.get_output_embeddings().register_forward_pre_hook(run)
    assert last_hidden_states(model, ROWS, batch_size=2).shape == (6, 16)


@pytest.mark.parametrize("rows", [[], [[1], []]])
def test_rows_without_tokens_are_refused(model, rows):
    with pytest.raises(ValueError, match="rows with tokens"):
        last_hidden_states(model, rows, batch_size=2)
    with pytest.raises(ValueError, match="batch size"):
        last_hidden_states(model, ROWS, batch_size=0)


def test_texts_of_a_folder_s_model_one_at_a_time(model_folder):
    found = last_token_features(TEXTS, str(model_folder), device="cpu", batch_size=3)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    for text, feature_D in zip(TEXTS, found.feature_ND, strict=True):
        expected = alone(model, tokenizer(text)["input_ids"])
        np.testing.assert_allclose(feature_D, expected, rtol=1e-4, atol=1e-5)
    assert found[1:] == (128, 0)  # the model has positions for 128 tokens, fewer than 1,024


def test_texts_are_cut_after_the_limit_and_counted(model_folder):
    options = {"device": "cpu", "batch_size": 2}
    cut = last_token_features(["abcdef", "abx", "ab"], str(model_folder), max_tokens=3, **options)
    short = last_token_features(["abc", "abx", "ab"], str(model_folder), **options)
    np.testing.assert_allclose(cut.feature_ND, short.feature_ND, rtol=1e-4, atol=1e-5)
    assert cut[1:] == (3, 1)


def test_the_builtin_model_gives_features():
    found = last_token_features(TEXTS, "builtin", device="cpu", batch_size=2)
    assert found.feature_ND.shape == (4, 128)
    assert np.isfinite(found.feature_ND).all()
    assert found.token_limit == 512


def test_bad_input_is_refused(model_folder):
    options = {"device": "cpu", "batch_size": 2}
    with pytest.raises(InputError, match="text 1 of 2"):
        last_token_features(["a", ""], str(model_folder), **options)
    with pytest.raises(InputError, match="does not exist"):
        last_token_features(["a"], "./no-such-model", **options)
    with pytest.raises(ValueError, match="token limit"):
        last_token_features(["a"], str(model_folder), max_tokens=0, **options)


def test_a_tokenizer_that_adds_tokens_gives_an_empty_text_features(tmp_path):
    folder = save_tiny(tmp_path, bos=True)
    found = last_token_features([""], str(folder), device="cpu", batch_size=1)
    assert found.feature_ND.shape == (1, 16)
