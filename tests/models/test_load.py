import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.load import (
    check_fit,
    end_token_ids,
    load_model,
    load_tokenizer,
    model_digest,
    unwritable_token_ids,
)
from tests.tiny import VOCABULARY, byte_tokenizer, save_tiny, tiny_model


def config(folder):
    return ModelConfig(name=str(folder), device="cpu")


def test_the_built_in_model_is_what_its_readme_says():
    model = load_model(ModelConfig(name="builtin", device="cpu"))
    assert sum(p.numel() for p in model.parameters()) == 2_739_328
    assert model.config.num_hidden_layers == 12
    assert load_tokenizer(ModelConfig(name="builtin")).eos_token_id == 0


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_a_local_folder_laid_out_as_on_the_hub(tmp_path, family):
    folder = save_tiny(tmp_path, family)
    assert model_digest(load_model(config(folder))) == model_digest(tiny_model(family))
    assert load_tokenizer(config(folder))("ab")["input_ids"] == byte_tokenizer()("ab")["input_ids"]


def test_weights_in_bfloat16_are_raised_to_float32(tmp_path):
    folder = save_tiny(tmp_path)
    tiny_model().bfloat16().save_pretrained(folder)
    model = load_model(config(folder))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training


def test_the_digest_tells_one_weight_and_no_name_of_the_folder(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "copy")
    model = load_model(config(tmp_path / "copy"))
    assert model_digest(model) == model_digest(load_model(config(model_folder)))
    with torch.no_grad():
        model.lm_head.weight[3, 3] += 1e-3
    assert model_digest(model) != model_digest(load_model(config(model_folder)))


def test_a_missing_padding_token_is_fine(model_folder):
    assert load_tokenizer(config(model_folder)).pad_token_id is None


def test_every_end_token_counts_and_unused_rows_are_no_text(model_folder):
    model, tokenizer = tiny_model(), byte_tokenizer()
    model.generation_config.eos_token_id = [5, 7]
    assert end_token_ids(model, tokenizer) == [0, 5, 7]
    assert unwritable_token_ids(model, tokenizer) == [0, *range(257, VOCABULARY)]


def test_control_tokens_without_a_role_are_no_text_either():
    tokenizer = byte_tokenizer(unnamed=["<|header|>", "<|tool|>"])
    assert unwritable_token_ids(tiny_model(), tokenizer) == [0, 257, 258, 259]


def broken(model_folder, tmp_path, change):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    change(folder)
    return folder


def remove_tokenizer(folder):
    for path in folder.glob("*token*"):
        path.unlink()


def pickle_only(folder):
    torch.save(torch.load, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def drop_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def widen(folder):
    settings = json.loads((folder / "config.json").read_text())
    settings["intermediate_size"] = 25
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_tokenizer, "has no tokenizer"),
        (pickle_only, r"only pickle weights \(pytorch_model.bin\)"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (truncate, "cannot be loaded"),
        (drop_a_weight, "lacks weights .* model.layers.1.mlp.up_proj.weight"),
        (widen, "cannot be loaded"),
        (lambda f: (f / "config.json").write_text('{"model_type": "none"}'), "cannot be loaded"),
        (lambda f: (f / "config.json").write_text("{oops"), "cannot be loaded"),
    ],
)
def test_broken_folders_are_refused_with_their_reason(model_folder, tmp_path, change, message):
    folder = broken(model_folder, tmp_path, change)
    with pytest.raises(InputError, match=message):
        load_model(config(folder))


def test_an_adapter_folder_is_told_apart(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match="it holds an adapter"):
        load_model(config(tmp_path))


def test_a_tokenizer_without_eos_is_refused(tmp_path):
    folder = save_tiny(tmp_path, eos=False)
    with pytest.raises(InputError, match="no end-of-sequence token"):
        load_tokenizer(config(folder))


@pytest.mark.parametrize("name", ["./none", "/none/at/all", "a/b/c", "none/"])
def test_a_missing_folder_is_refused_at_once(name):
    with pytest.raises(InputError, match="does not exist"):
        load_model(config(name))


def test_a_hub_id_that_cannot_be_reached(monkeypatch):
    with pytest.raises(InputError, match="'no-such/model' cannot be loaded"):
        load_tokenizer(config("no-such/model"))


def test_tokens_and_lengths_that_do_not_fit():
    with pytest.raises(InputError, match="gives token 260, the model has 260 embeddings"):
        check_fit(tiny_model(), 260, 10, "m")
    with pytest.raises(InputError, match="129 tokens are asked for, m has positions for 128"):
        check_fit(tiny_model(), 0, 129, "m")
