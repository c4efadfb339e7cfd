import json
import shutil

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.digests import architecture_digest, model_digest
from hyperfitting.models.fit import check_fit
from hyperfitting.models.load import load_model, load_tokenizer, quiet_transformers
from hyperfitting.models.tokens import end_token_ids, token_texts, unwritable_token_ids
from hyperfitting.models.tuned import (
    adapter_base,
    load_tuned,
    require_same_architecture,
    require_same_tokenizer,
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
        (lambda f: (f / "config.json").write_text("{oops"), "config.json of .* cannot be read"),
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


# Tuned checkpoints: whole, or an adapter on its base


def adapter(folder, model, **changes):
    """A PEFT adapter whose tensors are all different from zero."""
    options = {"r": 2, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    with quiet_transformers(), torch.no_grad():
        adapted = get_peft_model(model, LoraConfig(**options | changes))
        for name, parameter in adapted.named_parameters():
            if "lora" in name:
                parameter.normal_(std=0.3)
        adapted.save_pretrained(folder, save_embedding_layers=False)
    return adapted.eval()


@torch.no_grad()
def logits(model):
    return model(torch.arange(1, 13)[None]).logits


@pytest.mark.parametrize(
    "changes", [{}, {"target_modules": ["up_proj", "lm_head"]}, {"modules_to_save": ["lm_head"]}]
)
def test_an_adapter_is_loaded_on_its_base(model_folder, tmp_path, changes):
    adapted = adapter(tmp_path, tiny_model(), **changes)
    found = load_tuned(config(tmp_path), config(model_folder))
    assert torch.equal(logits(found), logits(adapted))
    assert not torch.allclose(logits(found), logits(tiny_model()))
    assert not any(module.training for module in found.modules())


def test_a_folder_without_an_adapter_is_a_whole_model(model_folder, tmp_path):
    folder = save_tiny(tmp_path)
    tiny_model(seed=3).save_pretrained(folder)
    found = load_tuned(config(folder), config(model_folder))
    assert model_digest(found) == model_digest(tiny_model(seed=3))


@pytest.mark.parametrize(
    ("trained_on", "changes", "message"),
    [
        ({"blocks": 5}, {}, r"8 tensors have no counterpart, base_model.*layers.3.self_attn"),
        ({"blocks": 2}, {}, r"4 tensors have no counterpart, base_model.*layers.2.self_attn"),
        ({"hidden_size": 32}, {}, "size mismatch for .*q_proj.lora_A"),
        ({"family": "gpt2"}, {"target_modules": ["c_attn"], "fan_in_fan_out": True}, "c_attn"),
    ],
)
def test_an_adapter_of_another_model_is_refused(
    model_folder, tmp_path, trained_on, changes, message
):
    adapter(tmp_path, tiny_model(**trained_on), **changes)
    with pytest.raises(InputError, match=f"does not fit {model_folder}: .*({message})"):
        load_tuned(config(tmp_path), config(model_folder))


def test_an_adapter_that_writes_into_the_text_is_refused(model_folder, tmp_path):
    settings = PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    with quiet_transformers():
        get_peft_model(tiny_model(), settings).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="is PROMPT_TUNING, which adds tokens"):
        load_tuned(config(tmp_path), config(model_folder))


def test_a_pickled_adapter_is_refused(model_folder, tmp_path):
    adapter(tmp_path, tiny_model())
    weights = load_file(tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_model.safetensors").unlink()
    torch.save(weights, tmp_path / "adapter_model.bin")
    with pytest.raises(InputError, match="no .safetensors weights"):
        load_tuned(config(tmp_path), config(model_folder))


def test_the_base_that_an_adapter_names(tmp_path, model_folder):
    assert adapter_base(config(model_folder)) is None
    adapter(tmp_path, load_model(config(model_folder)))
    assert adapter_base(config(tmp_path)) == (str(model_folder), None)
    path = tmp_path / "adapter_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"base_model_name_or_path": str(tmp_path / "gone")}))
    gone = adapter_base(config(tmp_path)).name
    with pytest.raises(InputError, match="gone does not exist"):
        load_tuned(config(tmp_path), config(gone))
    path.write_text(json.dumps(content | {"base_model_name_or_path": None}))
    with pytest.raises(InputError, match="does not name its base model"):
        adapter_base(config(tmp_path))
    path.write_text("{oops")
    with pytest.raises(InputError, match="cannot be read"):
        adapter_base(config(tmp_path))


# Tokenizers of two checkpoints


def test_equal_tokenizers_pass_and_others_are_refused(model_folder, tmp_path):
    base, tokenizer = config(model_folder), byte_tokenizer()
    same, other = save_tiny(tmp_path / "same"), save_tiny(tmp_path / "other", unnamed=["<|a|>"])
    require_same_tokenizer(base, config(same), tokenizer)
    with pytest.raises(InputError, match="257 and 258 entries, 1 of them differ"):
        require_same_tokenizer(base, config(other), tokenizer)
    adapter(tmp_path / "bare", tiny_model())
    require_same_tokenizer(base, config(tmp_path / "bare"), tokenizer)
    byte_tokenizer(unnamed=["<|a|>"]).save_pretrained(tmp_path / "bare")
    with pytest.raises(InputError, match="different tokenizers"):
        require_same_tokenizer(base, config(tmp_path / "bare"), tokenizer)
    with pytest.raises(InputError, match="does not exist"):
        require_same_tokenizer(base, config(tmp_path / "gone"), tokenizer)
    with pytest.raises(InputError, match="different tokenizers"):
        require_same_tokenizer(base, config("builtin"), tokenizer)


def test_tokens_as_texts_and_whether_they_open_with_a_space():
    tokenizer = byte_tokenizer()
    texts, starts = token_texts(tokenizer, 257)
    assert len(texts) == len(starts) == 257
    [a, space, newline] = (tokenizer(text)["input_ids"][0] for text in ("a", " ", "\n"))
    assert [texts[i] for i in (a, space, newline)] == ["a", " ", "\n"]
    assert [starts[i] for i in (a, space, newline)] == [False, True, True]
    for token, text in enumerate(texts):
        assert text == tokenizer.decode([token])


def test_the_architecture_is_told_by_what_shapes_a_block():
    plain = architecture_digest(tiny_model())
    assert plain == architecture_digest(tiny_model(seed=1))
    other = tiny_model(rms_norm_eps=0.1)
    assert plain != architecture_digest(other)
    assert architecture_digest(tiny_model(), ["rms_norm_eps"]) == architecture_digest(
        other, ["rms_norm_eps"]
    )


def test_another_architecture_is_refused_from_the_configs_alone(tmp_path, monkeypatch):
    from hyperfitting.models import load

    base = ModelConfig(name=str(save_tiny(tmp_path / "base")))
    narrow = save_tiny(tmp_path / "narrow")
    tiny_model(intermediate_size=20).save_pretrained(narrow)
    monkeypatch.setattr(load, "load_model", None)  # no weights are needed
    require_same_architecture(base, base)
    with pytest.raises(InputError, match="intermediate_size: 24 and 20"):
        require_same_architecture(base, config(narrow))


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer"])
def test_a_config_of_a_million_layers_is_refused_at_once(tmp_path, key):
    folder = save_tiny(tmp_path)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {key: 10**6}))
    with pytest.raises(InputError, match=rf"asks for 1,000,000 layers \({key}\)"):
        load_model(config(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_a_model_s_file_that_nests_without_end_is_refused(tmp_path, name):
    folder = save_tiny(tmp_path)
    (folder / name).write_text('{"a": ' * 100_000)
    load = load_model if name == "config.json" else load_tokenizer
    with pytest.raises(InputError):
        load(config(folder))
