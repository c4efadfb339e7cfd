"""Damaged files of a model and of an adapter: one refusal, whatever the loaders raise."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.generate.verb import open_model
from hyperfitting.models import load
from hyperfitting.models.load import load_model, load_result
from hyperfitting.runs import RunFolder
from tests.tiny import save_tiny, tiny_model

DAMAGES = {
    "cut": lambda content: content[:-2],
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "list": lambda content: b"[]",
    "deep": lambda content: b"[" * 100_000,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A base model, and a run whose result is an adapter on it."""
    root = tmp_path_factory.mktemp("whole")
    base = save_tiny(root / "base")
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(tiny_model(), lora)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(root / "run" / "adapter")
    return root


def opened(folder, kind, base):
    if kind == "base":
        return open_model(ModelConfig(name=str(folder), device="cpu"))
    return load_result(RunFolder(folder), ModelConfig(name=str(base), device="cpu"))


FILES = [
    ("base", "config.json"), ("base", "model.safetensors"), ("base", "tokenizer.json"),
    ("base", "tokenizer_config.json"), ("base", "generation_config.json"),
    ("run", "adapter/adapter_config.json"), ("run", "adapter/adapter_model.safetensors"),
]  # fmt: skip
# transformers takes these for absent, and the model is whole without them.
HARMLESS = {"generation_config.json", "tokenizer_config.json"}


@pytest.mark.parametrize("damage", [*DAMAGES, "gone"])
@pytest.mark.parametrize(("kind", "file"), FILES, ids=lambda part: part.rpartition("/")[2])
def test_a_damaged_file_is_one_refusal(whole, tmp_path, kind, file, damage):
    folder = tmp_path / kind
    shutil.copytree(whole / kind, folder)
    path = folder / file
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    refusal = None
    try:
        opened(folder, kind, whole / "base")
    except InputError as error:
        refusal = error
    if refusal is None:
        assert path.name in HARMLESS
    else:
        assert str(folder) in str(refusal)
        assert refusal.needed


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": "x"}, {"hidden_act": None}, {"architectures": 5},
     {"model_type": []}, {"num_attention_heads": 3}, {"head_dim": 10**30}],
    ids=str,
)  # fmt: skip
def test_a_config_of_wrong_values_is_one_refusal(whole, tmp_path, change):
    folder = shutil.copytree(whole / "base", tmp_path / "base")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(ModelConfig(name=str(folder), device="cpu"))


def _spoil(path, name, value):
    tensors = load_file(path)
    tensors[name][-1, 0] = value  # of the embedding: a row that no token uses
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_weight_that_is_no_number_is_named_also_in_a_row_that_is_never_used(
    whole, tmp_path, value
):
    folder = shutil.copytree(whole / "base", tmp_path / "base")
    _spoil(folder / "model.safetensors", "model.embed_tokens.weight", value)
    with pytest.raises(InputError, match=r"model\.embed_tokens\.weight of .*base holds NaN or inf"):
        load_model(ModelConfig(name=str(folder), device="cpu"))


def test_a_weight_of_an_adapter_that_is_no_number_is_named(whole, tmp_path):
    folder = shutil.copytree(whole / "run", tmp_path / "run")
    path = folder / "adapter" / "adapter_model.safetensors"
    _spoil(path, next(iter(load_file(path))), torch.nan)
    with pytest.raises(InputError, match=r"q_proj\.lora_A.* of .*adapter holds NaN"):
        opened(folder, "run", whole / "base")


NO_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("error", [MemoryError(), NO_MEMORY], ids=repr)
def test_too_little_memory_is_no_fault_of_the_model(whole, monkeypatch, error):
    def greedy(*_, **__):
        raise error

    monkeypatch.setattr(load.AutoModelForCausalLM, "from_pretrained", greedy)
    with pytest.raises(type(error)):
        load_model(ModelConfig(name=str(whole / "base"), device="cpu"))
