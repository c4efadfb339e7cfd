"""Planted values and turned vectors are told apart, and written with; everything is put back."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from hyperfitting.explain.rotation import NOTHING, OTHER_KIND, _others_changed
from hyperfitting.models.adapter import weight_with_adapter
from hyperfitting.models.anatomy import anatomy, base_of, linear_modules
from hyperfitting.models.pair import make_pair, with_weights
from tests.comparing import EXPLAIN, changed, comparison, dataset, explained
from tests.tiny import save_tiny, tiny_model

CONFIG = EXPLAIN.model_copy(update={"only": ("rotation",)})


def found_of(folder, tuned, config=CONFIG):
    explanation, found = explained(comparison(folder, tuned, data=dataset(6)), config)
    return explanation, found["rotation"]


def edited(change, block=1):
    """The tiny model with every matrix of one block changed."""
    model = tiny_model()
    names = linear_modules(model, [list(anatomy(model).blocks)[block]])
    with torch.no_grad():
        for name in names:
            weight = model.get_submodule(name).weight
            weight.copy_(change(weight.double()))
    return model


def with_other_values(weight):
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    return (left * (values * torch.linspace(4.0, 1.5, len(values)))) @ right


def turned(weight):
    generator = torch.Generator().manual_seed(3)
    twist = torch.randn((len(weight), len(weight)), generator=generator, dtype=weight.dtype)
    return torch.linalg.matrix_exp(0.3 * (twist - twist.T)) @ weight


def of_part(found, name):
    return next(each for each in found["hybrids"] if each["part"] == name)


@pytest.mark.parametrize(("change", "name"), [(with_other_values, "values"), (turned, "vectors")])
def test_a_planted_part_is_the_whole_change(model_folder, change, name):
    _, found = found_of(model_folder, lambda: edited(change))
    [row] = found["rows"]
    assert (row["block"], row["matrices"]) == (2, 7)
    assert (row["values_share"] > 0.99) == (name == "values")
    other = "vectors" if name == "values" else "values"
    assert of_part(found, name)["top1_agreement_tuned"]["mean"] == 1
    assert of_part(found, name)["ttr"] == found["tuned"]["ttr"]
    assert of_part(found, other)["top1_agreement_tuned"] == found["agreement"]
    assert found["agreement"]["mean"] < 1
    assert of_part(found, "both")["top1_agreement_tuned"]["mean"] == 1


def test_equal_matrices_have_no_rows_and_hybrids_can_be_left_out(model_folder):
    _, found = found_of(model_folder, tiny_model)
    assert (found["rows"], found["hybrids"], found["reason"]) == ([], [], NOTHING)
    off = EXPLAIN.model_copy(update={"swap_contexts": 0})
    assert found_of(model_folder, changed, off)[1] == {}


def test_the_original_is_put_back_bit_for_bit(model_folder):
    explanation, found = found_of(model_folder, changed)
    assert found["hybrids"]
    before = tiny_model().state_dict()
    for name, tensor in explanation.original.state_dict().items():
        assert torch.equal(tensor, before[name])
    model = tiny_model()
    name = linear_modules(model, list(anatomy(model).blocks))[0]
    own = model.get_submodule(name).weight
    with pytest.raises(KeyError), with_weights(model, {name: torch.zeros_like(own)}):
        assert not model.get_submodule(name).weight.any()
        raise KeyError
    assert model.get_submodule(name).weight is own


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_layer_with_an_adapter_is_as_it_would_be_merged(family, dora):
    from peft import LoraConfig, get_peft_model

    model = tiny_model(family)
    names = linear_modules(model, list(anatomy(model).blocks))
    config = LoraConfig(
        r=2, target_modules=names, use_dora=dora, init_lora_weights=False,
        fan_in_fan_out=family == "gpt2",
    )  # fmt: skip
    adapted = get_peft_model(model, config)
    module = base_of(adapted).get_submodule(names[0])
    before = module.get_base_layer().weight.clone()
    found = weight_with_adapter(module)
    assert torch.equal(module.get_base_layer().weight, before)
    assert not torch.equal(found, before)
    merged = adapted.merge_and_unload()
    assert torch.equal(found, merged.get_submodule(names[0]).weight)


def test_experts_that_changed_are_told_and_stay_the_originals(tmp_path):
    def tuned():
        model = tiny_model("mixtral")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "experts" in name and parameter.ndim == 3:
                    parameter.mul_(1.5)
        return model

    folder = save_tiny(tmp_path / "model", "mixtral")
    _, found = found_of(folder, tuned)
    assert (found["rows"], found["reason"]) == ([], OTHER_KIND)

    def both():
        model = tuned()
        with torch.no_grad():
            model.model.layers[1].self_attn.q_proj.weight.mul_(1.5)
        return model

    _, found = found_of(folder, both)
    assert found["others_changed"] > 0
    assert [row["block"] for row in found["rows"]] == [2]
    assert f"{found['others_changed']} matrices that changed are no linear" in found["in_words"]


def test_experts_that_an_adapter_changed_are_counted(tmp_path):
    def tuned():
        experts = [f"model.layers.{i}.mlp.experts.down_proj" for i in (1, 2)]
        config = LoraConfig(target_modules=[], target_parameters=experts, init_lora_weights=False)
        return get_peft_model(tiny_model("mixtral"), config)

    folder = save_tiny(tmp_path / "model", "mixtral")
    _, found = found_of(folder, tuned)
    assert (found["rows"], found["reason"]) == ([], OTHER_KIND)
    assert _others_changed(make_pair(tiny_model("mixtral"), tuned())) == 2
