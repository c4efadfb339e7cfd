"""What is loaded is what stands there: whole weights, a commit, nothing beside them unsaid."""

import json
import logging
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, Qwen2ForSequenceClassification, Qwen2Model

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import origin_of, reason_of
from hyperfitting.models.digests import model_digest
from hyperfitting.models.load import (
    load_model,
    load_model_config,
    load_tokenizer,
    quiet_transformers,
)
from hyperfitting.models.located import locate
from tests.models.hub import publish
from tests.tiny import byte_tokenizer, save_tiny, tiny_model

A, B = "a" * 40, "b" * 40


def config(folder, **changes):
    return ModelConfig(name=str(folder), device="cpu", **changes)


def save_adapter_beside(folder, model=None, **changes):
    """A PEFT adapter whose tensors are all different from zero."""
    options = {"r": 2, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    with quiet_transformers(), torch.no_grad():
        adapted = get_peft_model(model or tiny_model(), LoraConfig(**options | changes))
        torch.manual_seed(1)
        for name, parameter in adapted.named_parameters():
            if "lora" in name:
                parameter.normal_(std=0.3)
        adapted.save_pretrained(folder, save_embedding_layers=False)
    return adapted.eval()


def set_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def set_weights(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def notes(model):
    return origin_of(model).notes


def test_an_adapter_beside_whole_weights_is_left_out_and_that_is_said(tmp_path, caplog):
    folder = save_tiny(tmp_path)
    save_adapter_beside(folder)
    with caplog.at_level(logging.WARNING):
        model = load_model(config(folder))
    assert model_digest(model) == model_digest(tiny_model())
    [note] = notes(model)
    assert "without adapter_config.json, adapter_model.safetensors" in note
    assert [record.getMessage() for record in caplog.records] == [f"note: {note}"]
    assert origin_of(model).notes == [note]


def test_a_plain_folder_has_nothing_to_say(tmp_path):
    model = load_model(config(save_tiny(tmp_path)))
    assert (notes(model), origin_of(model).commit) == ([], None)
    assert origin_of(tiny_model()) is None


def test_an_adapter_at_a_hub_id_is_not_put_on_weights_beside_it_either(tmp_path, hub_cache):
    folder = save_tiny(tmp_path / "both")
    save_adapter_beside(folder)
    publish(hub_cache, "lab/both", {A: folder}, {"main": A})
    model = load_model(config("lab/both"))
    assert model_digest(model) == model_digest(tiny_model())
    assert "holds whole weights and an adapter" in notes(model)[0]


def test_an_adapter_alone_is_no_model_by_folder_or_hub_id(tmp_path, hub_cache):
    base = save_tiny(tmp_path / "base")
    save_adapter_beside(tmp_path / "adapter", load_model(config(base)))
    publish(hub_cache, "lab/adapter", {A: tmp_path / "adapter"}, {"main": A})
    shutil.copy(base / "config.json", tmp_path / "adapter")  # as some trainers leave it
    byte_tokenizer().save_pretrained(tmp_path / "adapter")
    publish(hub_cache, "lab/with-config", {A: tmp_path / "adapter"}, {"main": A})
    for name in (tmp_path / "adapter", "lab/adapter", "lab/with-config"):
        for load in (load_model, load_model_config, load_tokenizer):
            with pytest.raises(InputError, match="it holds an adapter"):
                load(config(name))


def test_a_revision_of_a_hub_id_is_loaded_and_its_commit_recorded(tmp_path, hub_cache):
    one, two = save_tiny(tmp_path / "one"), save_tiny(tmp_path / "two")
    tiny_model(seed=5).save_pretrained(two)
    publish(hub_cache, "lab/base", {A: one, B: two}, {"main": A, "first": B})
    for asked, commit, seed in ((None, A, 0), ("first", B, 5), (B, B, 5)):
        model = load_model(config("lab/base", revision=asked))
        assert model_digest(model) == model_digest(tiny_model(seed=seed))
        assert (origin_of(model).revision, origin_of(model).commit) == (asked, commit)
    with pytest.raises(InputError, match="'lab/base' at revision 'second' cannot be loaded"):
        load_model(config("lab/base", revision="second"))


@pytest.mark.parametrize("name", ["builtin", "folder"])
def test_a_revision_of_a_folder_is_refused(tmp_path, name):
    name = name if name == "builtin" else save_tiny(tmp_path)
    for load in (load_model, load_tokenizer, load_model_config):
        with pytest.raises(InputError, match=r"revision 'main' is asked of .*, which is a folder"):
            load(config(name, revision="main"))


# Which of the weights


def test_one_file_wins_over_parts_and_that_is_said(tmp_path):
    folder = save_tiny(tmp_path)
    tiny_model(seed=3).save_pretrained(tmp_path / "other", max_shard_size="20KB")
    for file in (tmp_path / "other").glob("model*"):
        shutil.copy(file, folder)
    model = load_model(config(folder))
    assert model_digest(model) == model_digest(tiny_model())
    assert (
        "model.safetensors is used, not those of model.safetensors.index.json: model-00001"
        in notes(model)[0]
    )


def test_parts_are_read_by_their_index(tmp_path):
    folder = save_tiny(tmp_path)
    (folder / "model.safetensors").unlink()
    tiny_model(seed=3).save_pretrained(folder, max_shard_size="20KB")
    save_file({"x": torch.ones(1)}, folder / "model-00001-of-00009.safetensors")
    model = load_model(config(folder))
    assert model_digest(model) == model_digest(tiny_model(seed=3))
    assert "not model-00001-of-00009.safetensors" in notes(model)[0]
    last = max(folder.glob("model-*-of-*.safetensors"))
    last.unlink()
    with pytest.raises(InputError, match=f"index.json .* names files that are not .*{last.name}"):
        load_model(config(folder))


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "model-00001-of-00002.safetensors"])
def test_weights_under_a_name_that_is_not_read(tmp_path, name):
    folder = save_tiny(tmp_path)
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(InputError, match=f"has neither .* only {name}"):
        load_model(config(folder))


def test_checkpoints_below_a_folder_are_named(tmp_path):
    save_tiny(tmp_path / "checkpoint-500")
    with pytest.raises(InputError, match=r"has no config.json(.|\n)*checkpoint-500"):
        load_model(config(tmp_path))


# What the files say of the model


def test_tensors_without_a_place_are_said(tmp_path):
    folder = save_tiny(tmp_path)
    set_weights(folder, lambda w: w | {"value_head.weight": torch.ones(2, 16)})
    [note] = notes(load_model(config(folder)))
    assert "1 tensors that this llama model has no place for" in note
    assert note.endswith("value_head.weight")


def test_a_head_that_the_config_ties_and_the_weights_do_not(tmp_path):
    folder = save_tiny(tmp_path, "qwen2")
    head = torch.randn(260, 16)
    set_weights(folder, lambda w: w | {"lm_head.weight": head})
    model = load_model(config(folder))
    assert torch.equal(model.lm_head.weight, head)
    assert "hold two that differ: both are used as they stand" in notes(model)[0]
    set_weights(folder, lambda w: w | {"lm_head.weight": w["model.embed_tokens.weight"].clone()})
    assert notes(load_model(config(folder))) == []


UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn, torch.float8_e5m2])
def test_coded_numbers_without_their_code_are_refused(tmp_path, kind):
    folder = save_tiny(tmp_path)
    set_weights(folder, lambda w: w | {UP: (40 * w[UP]).to(kind)})
    with pytest.raises(InputError, match=rf"{UP} .* is stored as \w+, .* no quantization_config"):
        load_model(config(folder))


def test_weights_that_are_rounded_are_said(tmp_path):
    folder = save_tiny(tmp_path)
    set_weights(folder, lambda w: w | {UP: w[UP].double()})
    [note] = notes(load_model(config(folder)))
    assert note.startswith("1 tensors of")
    assert f"in float64 and were rounded to float32: {UP}" in note
    set_weights(folder, lambda w: {n: t.bfloat16() for n, t in w.items()})
    assert notes(load_model(config(folder))) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: BertForMaskedLM(
            BertConfig(
                vocab_size=260,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
            )
        ),
        lambda: Qwen2ForSequenceClassification(tiny_model("qwen2").config),
    ],
)
def test_a_model_with_another_task_is_refused(tmp_path, make):
    model = make()
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    name = type(model).__name__
    with pytest.raises(InputError, match=f"says that it is a {name}, not a "):
        load_model(config(tmp_path))


def test_a_model_saved_without_its_head_is_said(tmp_path):
    Qwen2Model(tiny_model("qwen2").config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    assert "was saved as Qwen2Model; its language model" in notes(load_model(config(tmp_path)))[0]


# Weights that are quantised already


def test_quantised_weights_are_not_quantised_again(tmp_path):
    folder = save_tiny(tmp_path)
    set_config(folder, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 32})
    with pytest.raises(InputError, match=r"nf4, and .* are quantised already \(gptq\)"):
        load_model(config(folder, quantization="nf4"))
    with pytest.raises(InputError, match=r"are quantised \(gptq\) and cannot be loaded here"):
        load_model(config(folder))
    set_config(folder, quantization_config={})
    with pytest.raises(InputError, match=r"are quantised \(unnamed\), which transformers"):
        load_model(config(folder))
    set_config(folder, quantization_config={"quant_method": "newest"})
    with pytest.raises(InputError, match=r"are quantised \(newest\), which transformers"):
        load_model(config(folder))


def test_8_bit_weights_that_become_plain_ones_are_said(tmp_path):
    """On a CPU transformers multiplies them out."""
    folder = save_tiny(tmp_path)
    plain = load_file(folder / "model.safetensors")

    def coded(weights):
        found = {}
        for name, tensor in weights.items():
            if not name.endswith("proj.weight"):
                found[name] = tensor
                continue
            scale = tensor.abs().max() / 448
            found[name] = (tensor / scale).to(torch.float8_e4m3fn)
            blocks = [-(-size // 8) for size in tensor.shape]
            found[f"{name}_scale_inv"] = torch.full(blocks, float(scale))
        return found

    set_weights(folder, coded)
    set_config(folder, quantization_config={"quant_method": "fp8", "weight_block_size": [8, 8]})
    model = load_model(config(folder))
    assert torch.allclose(model.state_dict()[UP], plain[UP], atol=0.05)
    assert origin_of(model).quantization == "fp8"
    assert notes(model) == [f"the fp8 weights of {folder} were loaded as plain numbers"]


def test_where_a_checkpoint_lies(tmp_path, hub_cache):
    folder = save_tiny(tmp_path / "base")
    here = locate(config(folder))
    assert (here.has_weights, here.has_adapter, here.is_local) == (True, False, True)
    publish(hub_cache, "lab/base", {A: folder}, {"main": A})
    there = locate(config("lab/base"))
    assert (there.files, there.revision, there.is_local) == (here.files, A, False)


def test_a_reason_is_one_line_and_keeps_a_line_feed_that_it_quotes():
    error = ValueError("Error while initializing BPE: Token `\n` out of vocabulary")
    assert reason_of(error) == r"Error while initializing BPE: Token `\n` out of vocabulary"
    assert reason_of(ValueError("Errors in loading:\n  a size differs\nmore")).endswith("differs")
    assert reason_of(ValueError("`x` is unknown\nmore")) == "`x` is unknown"
