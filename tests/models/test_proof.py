"""A model is proved causal before a number is taken from it; whether rows may share a batch."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertLMHeadModel, Gemma3ForCausalLM, Gemma3TextConfig

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.features import last_hidden_states
from hyperfitting.models.forward import nll_rows, rank_rows
from hyperfitting.models.interface import embedding_rows, positions_of, vocabulary_rows
from hyperfitting.models.load import load_model
from hyperfitting.models.pair import make_pair, paired_logits
from hyperfitting.models.proof import require_causal, runs_in_batches
from tests.conftest import random_rows
from tests.families import tiny_of
from tests.tiny import GEMMA, ROTARY, SHARED, byte_tokenizer, tiny_model


def bert(**changes):
    torch.manual_seed(0)
    small = {name: ROTARY[name] for name in ("hidden_size", "intermediate_size",
             "num_attention_heads", "max_position_embeddings", "initializer_range")}  # fmt: skip
    config = BertConfig(vocab_size=260, num_hidden_layers=2, pad_token_id=0, **small, **changes)
    return BertLMHeadModel(config).eval()


def bidirectional_gemma():
    """A model of a family we know, which looks ahead: EmbeddingGemma's setting."""
    settings = SHARED | ROTARY | GEMMA | {"num_hidden_layers": 2}
    torch.manual_seed(0)
    config = Gemma3TextConfig(**settings, use_bidirectional_attention=True)
    return Gemma3ForCausalLM(config).eval()


USES = {
    "nll_rows": lambda model: nll_rows(model, random_rows(2, 9), 4),
    "rank_rows": lambda model: rank_rows(model, random_rows(2, 9), 4),
    "features": lambda model: last_hidden_states(model, random_rows(2, 9), batch_size=2),
    "pair": lambda model: list(paired_logits(make_pair(model, model), random_rows(2, 9), 4)),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("make", [bert, bidirectional_gemma])
def test_a_model_that_looks_ahead_is_refused_wherever_numbers_are_taken(make, use):
    with pytest.raises(InputError, match="is not causal"):
        USES[use](make())


@pytest.mark.parametrize("use", USES)
def test_the_same_model_as_a_decoder_is_used(use):
    assert USES[use](bert(is_decoder=True)) is not None


def test_a_model_that_looks_ahead_is_refused_when_it_is_loaded(tmp_path):
    bert().save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    options = {"revision": None, "trust_remote_code": False, "device": "cpu"}
    with pytest.raises(InputError, match="(?s)'bert' model is not causal.*is_decoder"):
        load_model(ModelConfig(name=str(tmp_path), **options))


def test_a_model_that_draws_at_random_is_refused(model):
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda *args: args[2] + torch.rand(()))
    with pytest.raises(InputError, match="run again on the same tokens"):
        require_causal(model)


def test_a_model_whose_rows_see_each_other_is_run_one_row_at_a_time(model):
    rows = random_rows(3, 9)
    expected = nll_rows(tiny_model(), rows, 4)
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda *args: args[2] + args[2].mean(0) * (len(args[2]) > 1))
    assert not runs_in_batches(model)
    np.testing.assert_allclose(nll_rows(model, rows, 4), expected, rtol=1e-5)
    single = make_pair(model, model)
    assert len(list(paired_logits(single, rows, 4))) == 3


@pytest.mark.parametrize("kind", ["mamba", "rwkv", "openai-gpt", "recurrent_gemma"])
def test_features_of_rows_together_are_as_each_alone(kind):
    model = tiny_of(kind)
    rows = [[11, 25, 37, 44, 58, 63], [33, 47, 52], [70]]
    together = last_hidden_states(model, rows, batch_size=3)
    for row, feature_D in zip(rows, together, strict=True):
        with torch.no_grad():
            alone = model.base_model(input_ids=torch.tensor([row])).last_hidden_state[0, -1]
        np.testing.assert_allclose(feature_D, alone.numpy(), rtol=1e-3, atol=1e-4)


def test_widths_are_found_without_matrices_to_ask(model):
    expected = vocabulary_rows(model), embedding_rows(model)
    model.get_output_embeddings = lambda: None
    model.get_input_embeddings = lambda: torch.nn.Identity()
    assert (vocabulary_rows(model), embedding_rows(model)) == expected == (260, 260)


def test_a_config_without_a_limit_of_positions():
    assert positions_of(tiny_of("xlnet").config) is None
    assert positions_of(tiny_model().config) == 128


@pytest.mark.parametrize("positions", [2, 3, 5, 7])
def test_few_positions_are_enough(positions):
    model = tiny_model("gpt2", n_positions=positions)
    assert runs_in_batches(model)
