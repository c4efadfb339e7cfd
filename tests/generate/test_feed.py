"""How a model is fed is proved on it: ladders, searches, adapters, planted faults, refusals."""

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model

from hyperfitting.errors import InputError
from hyperfitting.generate.beam import beam_search
from hyperfitting.generate.decode import decode
from hyperfitting.generate.feed import described, feed_of, said_of, searching_feed_of
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import parse_decoder
from hyperfitting.records.origins import DecodingFacts
from tests.families import tiny_of
from tests.generate import naive
from tests.generate.test_families import CONTEXTS, plain_logits, whole_text_anew
from tests.tiny import tiny_model

KINDS = ["mamba", "rwkv", "openai-gpt", "minimax"]


def test_what_models_are_fed_with():
    found = {kind: described(tiny_of(kind)) for kind in ["llama", "mamba", "openai-gpt"]}
    assert found["llama"] == DecodingFacts(
        cache="ours", position_ids=True, together="any lengths", note=None
    )
    assert found["mamba"].cache == "the model's"
    assert found["openai-gpt"].cache == "none"
    assert "each token runs the whole text anew" in found["openai-gpt"].note


@pytest.mark.parametrize("kind", KINDS)
def test_contrastive_search_is_the_naive_one(kind):
    model = tiny_of(kind)
    spec = parse_decoder("contrastive_search:alpha=0.4,k=3")
    found = run_decoder(spec, model, CONTEXTS, max_new_tokens=6)
    for context, text in zip(CONTEXTS, found, strict=True):
        assert text.ids == naive.contrastive_search(model, context, 6, alpha=0.4, k=3)


def beams_of(model, context, count, beams):
    """Beam search as a plain loop that runs every candidate's whole text."""
    kept = [(0.0, list(context))]
    for _ in range(count):
        grown = []
        for score, ids in kept:
            logp = plain_logits(model, ids)[-1].log_softmax(dim=-1).tolist()
            grown += [(score + value, [*ids, token]) for token, value in enumerate(logp)]
        kept = sorted(grown, key=lambda each: -each[0])[:beams]
    return kept[0][1][len(context) :]


@pytest.mark.parametrize("kind", ["llama", *KINDS])
def test_beam_search_is_the_naive_one(kind):
    model = tiny_of(kind)
    found = beam_search(model, CONTEXTS, beams=3, max_new_tokens=5)
    for context, text in zip(CONTEXTS, found, strict=True):
        assert text.ids == beams_of(model, context, 5, 3)


def test_beams_whose_scores_are_not_the_model_s_are_refused_by_name():
    # transformers numbers a RoBERTa's positions from 0 in `generate`, the model itself from 1.
    with pytest.raises(InputError, match="'roberta'"):
        beam_search(tiny_of("roberta"), CONTEXTS, beams=3, max_new_tokens=5)


@pytest.mark.parametrize("amateur", ["mamba", "openai-gpt"])
def test_an_amateur_of_any_family_sees_its_own_text(amateur):
    expert, other = tiny_of("llama"), tiny_of(amateur)
    spec = parse_decoder("contrastive_decoding:alpha=0.1,amateur_temperature=1")
    found = run_decoder(spec, expert, CONTEXTS, max_new_tokens=6, amateur=other)
    for context, text in zip(CONTEXTS, found, strict=True):
        expected = naive.contrastive_decoding(expert, other, context, 6, alpha=0.1, temperature=1)
        assert text.ids == expected


def test_an_adapter_put_on_later_is_proved_anew():
    model = tiny_of("mamba")
    before = decode(model, CONTEXTS, max_new_tokens=6)
    torch.manual_seed(3)
    lora = LoraConfig(target_modules=["in_proj"], r=4, init_lora_weights=False)
    adapted = get_peft_model(model, lora).eval()
    after = decode(adapted, CONTEXTS, max_new_tokens=6)
    assert [t.ids for t in after] == [whole_text_anew(adapted, c, 6) for c in CONTEXTS]
    assert after != before


class Swallows(torch.nn.Module):
    """Drops what it is told to of a model's arguments, as a careless forward pass does."""

    def __init__(self, model, dropped):
        super().__init__()
        self.real, self.dropped = model.forward, dropped
        model.forward = self.forward_without

    def forward_without(self, input_ids=None, past_key_values=None, use_cache=None,
                        attention_mask=None, position_ids=None, logits_to_keep=0):  # fmt: skip
        given = {
            "past_key_values": past_key_values, "use_cache": use_cache,
            "attention_mask": attention_mask, "position_ids": position_ids,
            "logits_to_keep": logits_to_keep,
        }  # fmt: skip
        return self.real(input_ids, **{k: v for k, v in given.items() if k not in self.dropped})


@pytest.mark.parametrize(
    ("dropped", "cache", "together"),
    [
        (["past_key_values", "use_cache"], "none", "any lengths"),
        (["attention_mask"], "ours", "one length"),
        (["position_ids"], "ours", "any lengths"),  # rotary: a row may stand anywhere
        (["past_key_values", "use_cache", "attention_mask"], "none", "one length"),
    ],
)
def test_what_a_model_swallows_unseen_is_not_relied_on(dropped, cache, together):
    model = tiny_model()
    expected = decode(tiny_model(), CONTEXTS, max_new_tokens=8)
    Swallows(model, dropped)
    found = described(model)
    assert (found.cache, found.together) == (cache, together)
    assert decode(model, CONTEXTS, max_new_tokens=8) == expected
    assert (said_of(model) is None) == (cache == "ours" and together == "any lengths")


def test_position_ids_that_a_model_reads_otherwise_are_left_out():
    model = tiny_of("roberta")  # its positions begin behind its padding id
    assert described(model).position_ids is False
    assert described(model).together == "one length"


def test_a_cache_that_cannot_be_reordered_serves_greedy_only():
    model = tiny_of("minimax")
    assert feed_of(model).cache == "own"
    assert searching_feed_of(model).cache == "none"


def test_a_proof_that_proves_nothing_is_not_kept():
    model = tiny_model()
    with torch.no_grad():
        weight = model.lm_head.weight.clone()
        model.lm_head.weight.zero_()
        Swallows(model, ["past_key_values", "use_cache"])
        assert feed_of(model).cache == "roomy", "equal logits tell nothing"
        model.lm_head.weight.copy_(weight)
    assert feed_of(model).cache == "none"


def test_the_proof_leaves_the_model_as_it_was():
    model = tiny_model().train()
    state = torch.random.get_rng_state()
    feed_of(model)
    assert all(module.training for module in model.modules())
    assert torch.equal(state, torch.random.get_rng_state())


def test_logits_that_are_no_numbers_are_refused():
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[3, 0] = math.nan
    with pytest.raises(InputError, match="not numbers"):
        decode(model, CONTEXTS, max_new_tokens=2)
