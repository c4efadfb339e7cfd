"""A tuned model between its original and itself, and beyond: exact at both ends."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model

from hyperfitting.config import EvaluateConfig
from hyperfitting.errors import InputError
from hyperfitting.models.strength import set_strength
from tests.comparing import EVALUATE, changed, comparison, evaluated, ids
from tests.conftest import random_rows
from tests.tiny import tiny_model

IDS = torch.tensor(random_rows(3, 10))


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def adapted(**options):
    torch.manual_seed(5)
    config = LoraConfig(r=3, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM",
                        **options)  # fmt: skip
    model = get_peft_model(tiny_model(), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    return model


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0, 1.5])
@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapters_product_is_scaled(strength, rslora):
    plain, model = tiny_model(), adapted(use_rslora=rslora)
    whole = copy.deepcopy(model).merge_and_unload()
    expected = {
        name: weight.double() + strength * (whole.get_parameter(name).double() - weight.double())
        for name, weight in plain.named_parameters()
    }
    set_strength(model, plain, strength)
    found = model.merge_and_unload()
    for name, weight in found.named_parameters():
        assert torch.allclose(weight.double(), expected[name], atol=1e-6)


def test_the_ends_are_exact():
    for model in (adapted(), tiny_model(seed=3)):
        plain, before = tiny_model(), logits(model)
        set_strength(model, plain, 1.0)
        assert torch.equal(logits(model), before)
        set_strength(model, plain, 0.0)
        assert torch.equal(logits(model), logits(plain))


def test_whole_weights_are_interpolated_and_extrapolated():
    plain, model, other = tiny_model(), tiny_model(seed=3), tiny_model(seed=3)
    set_strength(model, plain, 1.5)
    for name, weight in model.named_parameters():
        start, end = plain.get_parameter(name), other.get_parameter(name)
        assert torch.allclose(weight, start + 1.5 * (end - start), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: adapted(use_dora=True), "type LORA with use_dora"),
        (lambda: adapted(modules_to_save=["lm_head"]), "with modules_to_save"),
        (lambda: tiny_model(vocab_size=300), "embed_tokens"),
    ],
)
def test_what_is_no_multiple_of_an_update_is_refused(model, words):
    with pytest.raises(InputError, match=words):
        set_strength(model(), tiny_model(), 0.5)


@pytest.mark.parametrize("given", [[-1], [1, 1], [101], ["x"], [float("nan")]])
def test_odd_strengths_are_refused(given):
    with pytest.raises((InputError, ValueError)):
        EvaluateConfig(strengths=given)


def test_at_strength_0_the_original_writes_and_at_1_the_tuned_model(model_folder):
    config = EVALUATE.model_copy(update={"strengths": (0.0, 0.5, 1.0)})
    found, _, _ = evaluated(comparison(model_folder, changed), config)
    texts = {
        (each.arm.name, each.arm.strength): ids(each.fixed)
        for each in found.arms
        if not each.arm.is_sampled and not each.arm.matched_to
    }
    assert texts["tuned", 0.0] == texts["original", None]
    assert texts["tuned", 1.0] == texts["tuned", None]
    assert texts["tuned", 0.5] not in (texts["tuned", None], texts["original", None])
