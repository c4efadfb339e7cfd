"""Estimates against what torch counts, and against what is refused for want of room."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hyperfitting.config import ModelConfig
from hyperfitting.config.layers import Layer, flatten
from hyperfitting.config.plan import cells, resolve_plan
from hyperfitting.errors import InputError
from hyperfitting.models.load import load_model
from hyperfitting.runs import GridFolder
from hyperfitting.study import estimate as estimates
from hyperfitting.study.estimate import Cost, Estimated, require_room, shape_of, training_cost
from hyperfitting.verbs import study
from tests.tiny import save_tiny

BUILTIN = ModelConfig(name="builtin", device="cpu")


@pytest.fixture(scope="module")
def model():
    return load_model(BUILTIN)


def planned(method, **train):
    settings = {
        "models": ["builtin"], "sources": ["builtin:fiction"], "methods": [method], "seeds": [0],
        "explained": [], "monitor": {"every_epochs": 0}, "data": {"num_train": 6},
        "train": {"epochs": 3, "stop": "epochs", **train},
    }  # fmt: skip
    plan = resolve_plan([Layer("plan", flatten(settings))])
    return plan, cells(plan)[0].runs[0].config


def counted(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_a_shape_is_the_models_own(model):
    shape = shape_of(BUILTIN)
    assert shape.total == sum(p.numel() for p in model.parameters())
    assert shape.num_blocks == model.config.num_hidden_layers
    assert shape.head == model.lm_head.weight.numel()


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
class Own(LlamaForCausalLM):
    config_class = LlamaConfig
"""


def test_what_is_no_model_of_this_kind_is_refused_and_own_code_runs_with_consent(tmp_path):
    config = save_tiny(tmp_path / "own") / "config.json"
    settings = json.loads(config.read_text())
    (config.parent / "own.py").write_text(OWN_CODE)
    config.write_text(json.dumps(settings | {"auto_map": {"AutoModelForCausalLM": "own.Own"}}))
    own = ModelConfig(name=str(config.parent), device="cpu", trust_remote_code=True)
    assert shape_of(own).num_blocks == settings["num_hidden_layers"]
    config.write_text(json.dumps({"model_type": "t5", "architectures": ["T5Model"]}))
    with pytest.raises(InputError, match="T5Config"):
        shape_of(ModelConfig(name=str(config.parent), device="cpu"))


def test_operations_of_a_training_are_what_torch_counts_but_for_attention(model):
    shape = shape_of(BUILTIN)
    ids = torch.randint(1, 100, (2, 64))

    def step():
        model(ids, labels=ids).loss.backward()

    per_token = counted(step) / ids.numel()
    _, config = planned("full_sft")
    rate = 1e9
    cost = training_cost(shape, config, rate)
    tokens = 6 * config.data.window_tokens * 3
    work = (cost.seconds - estimates.SECONDS_TO_BEGIN) * estimates.SHARE * rate
    passes = 6 * config.data.window_tokens * shape.per_token  # of the original, once
    assert (work - passes) / tokens == pytest.approx(per_token, rel=0.15)
    model.zero_grad()


def test_training_less_takes_less(model):
    shape = shape_of(BUILTIN)
    costs = [
        training_cost(shape, planned(method)[1], 1e9)
        for method in ("full_sft", "full_lora", "late_stage_lora")
    ]
    assert [c.seconds for c in costs] == sorted((c.seconds for c in costs), reverse=True)
    assert [c.memory for c in costs] == sorted((c.memory for c in costs), reverse=True)
    # Three checkpoints of weights and two moments, the weights as they were, and the result.
    assert costs[0].disk == (3 * 3 + 1 + 1) * 4 * shape.total


def test_a_plan_without_room_is_refused_before_it_begins(tmp_path):
    plan, _ = planned("full_sft")
    folder = GridFolder(tmp_path / "grid")
    large = Estimated({"c/train": Cost(1.0, 1e15, 0.0)}, {})
    with pytest.raises(InputError, match=r"c/train takes about 1000000.0 GB of memory"):
        require_room(large, plan, folder)
    many = Estimated({"c/train": Cost(1.0, 1.0, 1e18)}, {})
    with pytest.raises(InputError, match="of disk"):
        require_room(many, plan, folder)
    unchecked = resolve_plan(
        [Layer("plan", flatten(plan.config.model_dump(include={"models", "sources", "methods"}))),
         Layer("plan", {"check_room": False, "explained": []})]
    )  # fmt: skip
    require_room(many, unchecked, folder)
    assert not folder.path.exists()


def test_a_model_that_cannot_be_had_is_named_and_the_others_are_estimated(tmp_path):
    settings = {"models": ["builtin", str(tmp_path / "none")], "sources": ["builtin:fiction"],
                "methods": ["full_sft"], "seeds": [0]}  # fmt: skip
    plan = resolve_plan([Layer("plan", flatten(settings))])
    shown = []
    study(plan, tmp_path / "grid", show=lambda *found: shown.append(found))
    ((missing, found),) = shown
    assert not (tmp_path / "grid").exists()
    assert len(missing) == 6
    assert set(found.unknown) == {str(tmp_path / "none")}
    assert {key.split("/")[0] for key in found.costs} == {"builtin--builtin-fiction"}
    assert all(cost.seconds > 0 and cost.memory > 0 for cost in found.costs.values())
