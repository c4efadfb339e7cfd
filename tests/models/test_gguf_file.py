"""A model in one .gguf file is opened as plain float32 weights by every verb, or refused."""

import hashlib
import itertools
import json
import sys

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, LlamaConfig

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models import gguf_file
from hyperfitting.models.checkpoint import origin_of
from hyperfitting.models.digests import model_digest
from hyperfitting.models.load import (
    is_quantized,
    load_model,
    load_model_config,
    load_tokenizer,
    quiet_transformers,
)
from hyperfitting.models.located import locate
from tests.faults.sample import EVALUATE, TRAIN, hyperfit, must
from tests.models.hub import publish
from tests.tiny import byte_tokenizer, tiny_model
from tests.tiny_gguf import write_gguf

A, B = "a" * 40, "b" * 40


def config(path, **changes):
    return ModelConfig(name=str(path), device="cpu", **changes)


@pytest.fixture
def path(tmp_path):
    return write_gguf(tiny_model("qwen2"), tmp_path / "tiny.gguf")


def test_it_is_the_model_that_was_written_and_says_where_it_came_from(path):
    found, expected = load_model(config(path)), tiny_model("qwen2")
    assert model_digest(found) == model_digest(expected)
    row = torch.arange(1, 20)[None]
    assert torch.equal(found(row).logits, expected(row).logits)
    assert load_model_config(config(path)).num_hidden_layers == 3
    origin = origin_of(found)
    assert origin.file_digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert origin.notes == [f"{path} is a GGUF file: its weights were dequantised to float32"]
    assert found.name_or_path == str(path)


def test_nothing_says_that_it_is_quantised_also_when_it_is_saved(path, tmp_path):
    model = load_model(config(path))
    assert not is_quantized(model)
    with quiet_transformers():
        model.save_pretrained(tmp_path / "saved")
    assert "quantization" not in (tmp_path / "saved" / "config.json").read_text()
    load_tokenizer(config(path)).save_pretrained(tmp_path / "saved")
    assert model_digest(load_model(config(tmp_path / "saved"))) == model_digest(model)


def test_its_tokenizer_reads_texts_and_knows_the_end(path):
    tokenizer = load_tokenizer(config(path))
    text = "Straße, 1,250 people couldn't."
    ids = tokenizer(text)["input_ids"]
    assert ids == byte_tokenizer()(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == byte_tokenizer().eos_token_id
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    other = write_gguf(tiny_model("qwen2"), path.with_name("chat.gguf"), template=template)
    assert load_tokenizer(config(other)).chat_template == template


def test_texts_end_as_the_file_says_whatever_transformers_took(path):
    tokenizer = byte_tokenizer()
    gguf_file.take_end_of_file(tokenizer, 66)
    assert tokenizer.eos_token_id == 66
    gguf_file.take_end_of_file(tokenizer, None)
    assert tokenizer.eos_token_id == 66
    other = write_gguf(tiny_model("qwen2"), path.with_name("a.gguf"), end="a")
    assert load_tokenizer(config(other)).eos_token == "a"


def test_a_file_that_states_no_end_has_not_the_end_of_other_models(path):
    silent = write_gguf(
        tiny_model("llama"), path.with_name("silent.gguf"), architecture="llama", end=None
    )
    assert load_model_config(config(silent)).eos_token_id == LlamaConfig().eos_token_id == 2
    with pytest.raises(InputError, match="has no end-of-sequence token"):
        load_tokenizer(config(silent))


def test_its_config_is_that_of_transformers(path):
    with quiet_transformers():
        expected = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    assert load_model_config(config(path)).to_dict() == expected.to_dict()


def test_a_file_of_a_hub_repository_is_pinned_to_its_commit(tmp_path, hub_cache):
    for name, seed in (("one", 0), ("two", 5)):
        (tmp_path / name).mkdir()
        write_gguf(tiny_model("qwen2", seed=seed), tmp_path / name / "tiny.gguf")
    publish(
        hub_cache, "lab/model-GGUF", {A: tmp_path / "one", B: tmp_path / "two"},
        {"main": A, "next": B},
    )  # fmt: skip
    for asked, commit, seed in ((None, A, 0), ("next", B, 5)):
        model = load_model(config("lab/model-GGUF/tiny.gguf", revision=asked))
        assert model_digest(model) == model_digest(tiny_model("qwen2", seed=seed))
        assert (origin_of(model).revision, origin_of(model).commit) == (asked, commit)
        assert model.name_or_path == "lab/model-GGUF/tiny.gguf"
    with pytest.raises(InputError, match=r"lab/model-GGUF/other\.gguf' cannot be loaded"):
        load_model(config("lab/model-GGUF/other.gguf"))


@pytest.mark.parametrize("method", ["full_sft", "late_stage_lora"])
def test_it_is_trained_evaluated_and_written_with(path, tmp_path, method):
    run = tmp_path / "run"
    must(
        "train",
        str(path),
        "--data",
        "builtin:fiction",
        "--method",
        method,
        "--out",
        str(run),
        "model.device=cpu",
        *(["train.last_blocks=1"] if "lora" in method else []),
        *TRAIN,
    )
    manifest = json.loads((run / "manifest.json").read_text())
    assert hashlib.sha256(path.read_bytes()).hexdigest() in json.dumps(manifest)
    if method == "late_stage_lora":
        adapter = json.loads((run / "adapter" / "adapter_config.json").read_text())
        assert adapter["base_model_name_or_path"] == str(path)
        PeftModel.from_pretrained(load_model(config(path)), run / "adapter")
    must("evaluate", str(run), "--out", str(tmp_path / "study"), *EVALUATE[:3])
    must("generate", str(run), "--prompt", "It was", "max_new_tokens=4")
    must("generate", str(path), "--prompt", "It was", "max_new_tokens=4")


def refused(match, *given, **changes):
    with pytest.raises(InputError, match=match) as caught:
        load_model(config(*given, **changes))
    return str(caught.value)


def test_what_is_no_such_model_is_refused(path, tmp_path):
    odd = write_gguf(tiny_model("qwen2"), tmp_path / "odd.gguf", architecture="rwkv9")
    refused("odd.gguf cannot be opened as a GGUF model", odd)
    short = tmp_path / "short.gguf"
    content = path.read_bytes()
    for length in (5, 200, 3_000, len(content) // 2, len(content) - 1):
        short.write_bytes(content[:length])
        refused("short.gguf cannot be opened as a GGUF model", short)
        assert hyperfit("generate", str(short), "--prompt", "a").exit_code == 2
    short.write_bytes(b"<html>")
    refused("no GGUF file: it does not begin with the letters GGUF", short)
    refused("is one part of a model", tmp_path / "big-00001-of-00003.gguf")
    refused("revision 'main' is asked of .*, which is a file", path, revision="main")
    refused("which is dequantised", path, quantization="nf4")
    refused(r"the model file .*/nowhere\.gguf does not exist", tmp_path / "nowhere.gguf")


def test_a_folder_with_such_files_names_them(path):
    with pytest.raises(InputError, match=r"has no config\.json") as caught:
        load_model(config(path.parent))
    assert f"name a file: {path}" in str(caught.value.hint)


def test_the_extra_is_named_where_its_package_is_missing(path, monkeypatch):
    monkeypatch.setattr(gguf_file, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="the package gguf is not installed") as caught:
        locate(config(path))
    assert "hyperfitting[gguf]" in caught.value.needed
    assert "gguf" in sys.modules, "it is installed here"


@pytest.fixture
def parses(monkeypatch):
    """Every time that a file is gone through."""
    import gguf

    calls = []

    class Counted(gguf.GGUFReader):
        def __init__(self, path, *more):
            calls.append(path)
            super().__init__(path, *more)

    monkeypatch.setattr(gguf, "GGUFReader", Counted)
    return calls


def test_a_file_is_gone_through_once_until_it_changes(path, parses):
    counts = [0]
    for _ in range(3):
        load_model_config(config(path))
        load_tokenizer(config(path))
        load_model(config(path))
        counts.append(len(parses))
    first, again, once_more = (b - a for a, b in itertools.pairwise(counts))
    assert again == once_more == 1  # for the weights
    assert 3 <= first <= 4  # for the config and the tokenizer too; transformers 5.17 looks twice
    before = len(parses)
    write_gguf(tiny_model("qwen2", num_hidden_layers=2), path)
    assert load_model_config(config(path)).num_hidden_layers == 2
    assert len(load_model(config(path)).model.layers) == 2
    assert len(parses) > before


def test_each_caller_has_its_own(path):
    changed = load_model_config(config(path))
    changed.num_hidden_layers = 99
    tokenizer = load_tokenizer(config(path))
    tokenizer.add_tokens(["<new>"])
    assert load_model_config(config(path)).num_hidden_layers == 3
    assert "<new>" not in load_tokenizer(config(path)).get_vocab()
    model = load_model(config(path))
    model.config.eos_token_id = 7
    assert load_model_config(config(path)).eos_token_id != 7
