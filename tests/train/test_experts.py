"""A LoRA on experts: trained, saved, merged, scaled and cached as every other adapter."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from hyperfitting.config import LoraConfig
from hyperfitting.config.layers import Layer, read_overrides
from hyperfitting.config.resolve import resolve_run
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import anatomy, base_of
from hyperfitting.models.merged import merged, weights_of
from hyperfitting.models.pair import plain_name
from hyperfitting.models.strength import set_strength
from hyperfitting.train.lora import save_adapter
from hyperfitting.train.methods import prepare
from tests.cli.test_cli import train
from tests.conftest import random_rows
from tests.tiny import save_tiny, tiny_model
from tests.train.running import run, settings

FAMILIES = ("mixtral", "qwen2_moe", "qwen3_moe")
RANK, ALPHA = 2, 8
BASE = Layer("test", {"model.name": "a", "data.source": "b", "train.method": "late_stage_lora"})


def with_experts(**changes):
    lora = LoraConfig(rank=RANK, alpha=ALPHA, experts=True)
    return settings("late_stage_lora", lora=lora, **changes)


@torch.no_grad()
def by_hand(folder, family, strength=1.0):
    """The tiny model with what the saved adapter adds to each expert, one by one."""
    model = tiny_model(family)
    saved = load_file(folder / "adapter_model.safetensors")
    for name, block in anatomy(model).blocks.items():
        experts = block.mlp.experts
        # PEFT nests: the parameter that comes last in the module is outermost.
        for place, own in zip(("base_layer.", ""), ("gate_up_proj", "down_proj"), strict=True):
            weight_EOI = getattr(experts, own)
            key = f"base_model.model.{name}.mlp.experts.{place}lora_{{}}.weight"
            if key.format("A") not in saved:
                continue
            a, b = saved.pop(key.format("A")), saved.pop(key.format("B"))
            count = len(weight_EOI)
            for expert in range(count):
                rows_RI = a[expert * RANK : (expert + 1) * RANK]
                columns_OR = b[:, expert::count]  # PEFT keeps a rank of all experts together
                weight_EOI[expert] += strength * ALPHA / RANK * columns_OR @ rows_RI
        for key in [key for key in saved if key.startswith(f"base_model.model.{name}.")]:
            if ".lora_A." in key:
                other = key.replace("lora_A", "lora_B")
                place = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                linear = model.get_submodule(place)
                linear.weight += strength * ALPHA / RANK * saved.pop(other) @ saved.pop(key)
    assert not saved
    return model


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    trainable, result = run(tiny_model(request.param), with_experts())
    assert result.train_loss[-1] < result.train_loss[0]
    save_adapter(trainable.model, trainable.initial, folder, with_experts().lora)
    return request.param, folder, trainable.model


def logits(model):
    with torch.no_grad():
        return model(torch.tensor(random_rows(2, 12))).logits


def test_every_expert_gets_what_the_saved_tensors_say(trained):
    family, folder, model = trained
    found = logits(model)
    torch.testing.assert_close(found, logits(by_hand(folder, family)), rtol=1e-4, atol=1e-4)
    again = PeftModel.from_pretrained(tiny_model(family), folder)
    torch.testing.assert_close(found, logits(again), rtol=1e-5, atol=1e-5)
    assert (found - logits(tiny_model(family))).abs().max() > 0.05


def test_weights_of_and_merged_are_one_model(trained):
    family, folder, _ = trained
    expected = dict(by_hand(folder, family).named_parameters())
    adapted = PeftModel.from_pretrained(tiny_model(family), folder)
    before = {name: p.clone() for name, p in base_of(adapted).named_parameters()}
    weights = dict(weights_of(adapted))
    assert weights.keys() >= expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(p, before[n]) for n, p in base_of(adapted).named_parameters())
    assert {plain_name(n) for n in before if ".lora_" not in n} == expected.keys()
    plain = merged(adapted)
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_a_part_of_it_is_that_part_of_every_expert(trained, strength):
    family, folder, _ = trained
    adapted = PeftModel.from_pretrained(tiny_model(family), folder)
    set_strength(adapted, tiny_model(family), strength)
    expected = logits(by_hand(folder, family, strength))
    torch.testing.assert_close(logits(adapted), expected, rtol=1e-4, atol=1e-4)


def test_the_names_in_the_file_have_one_order(trained):
    config = json.loads((trained[1] / "adapter_config.json").read_text())
    assert config["target_parameters"] == sorted(config["target_parameters"])
    assert len(config["target_parameters"]) == 2 * 2  # of the last two blocks


def test_steps_from_a_cache_are_those_of_an_uncached_run():
    states = [
        run(tiny_model("qwen3_moe"), with_experts(cache=place))[1] for place in ("off", "ram")
    ]
    assert states[0].train_loss == pytest.approx(states[1].train_loss, rel=1e-4)


def test_no_other_lora_is_put_on_experts():
    for other in ("dora=true", "init=pissa"):
        layers = [BASE, read_overrides(["train.lora.experts=true", f"train.lora.{other}"])]
        with pytest.raises(InputError, match="PEFT has no other for the matrices of experts"):
            resolve_run(layers)


def test_experts_that_are_left_out_are_told(texts_file, tmp_path):
    base = save_tiny(tmp_path / "base", "mixtral")
    told = train(base, texts_file, tmp_path / "run", "train.lora.rank=2").output
    assert "the experts stay as they are: train.lora.experts=true" in " ".join(told.split())


def test_without_the_setting_experts_stay_as_they_are():
    trainable = prepare(tiny_model("mixtral"), settings("late_stage_lora"))
    assert not any("experts" in name for name in trainable.names)


def test_a_model_without_experts_is_told():
    with pytest.raises(InputError, match="hold no experts"):
        prepare(tiny_model(), with_experts())


def test_a_rank_above_every_experts_matrix_is_refused():
    big = settings("late_stage_lora", lora=LoraConfig(rank=4096, experts=True))
    with pytest.raises(InputError, match="train.lora.rank is 4096"):
        prepare(tiny_model("mixtral"), big)
