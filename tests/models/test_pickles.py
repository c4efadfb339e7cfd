"""Pickles are never opened: on no route, whatever their names and whatever lies beside them.

Each holds code that would write a file.
"""

import ast
import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.adapter import put_adapter
from hyperfitting.models.load import load_model, load_result
from hyperfitting.models.located import locate
from hyperfitting.models.pickles import without_pickles
from hyperfitting.runs import RunFolder
from hyperfitting.seals import sealed_folder
from hyperfitting.train.checkpoints import Checkpoints
from tests.cli.test_cli import hyperfit
from tests.models.hub import publish
from tests.models.test_load import adapter
from tests.tiny import tiny_model

SOURCE = Path(__file__).parents[2] / "src" / "hyperfitting"


class Hostile:
    """What writes a file where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.write_text, (self.marker, "code ran")


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture
def pickled(marker):
    """The bytes of a file as torch writes it, with code in it."""
    buffer = io.BytesIO()
    torch.save({"weight": Hostile(marker)}, buffer)
    return buffer.getvalue()


def test_the_file_of_these_tests_is_hostile(pickled, marker):
    with pytest.raises(AttributeError), zipfile.ZipFile(io.BytesIO(pickled)) as file:
        pickle.Unpickler(file.open("archive/data.pkl")).load()["weight"].x  # noqa: B018
    assert marker.exists()


@pytest.fixture
def folder(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


def bin_alone(folder, pickled):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickled)


def shards_alone(folder, pickled):
    bin_alone(folder, pickled)
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00001.bin")
    index = {"weight_map": {"weight": "pytorch_model-00001-of-00001.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def named_by_an_index(folder, pickled):
    bin_alone(folder, pickled)
    index = {"metadata": {}, "weight_map": {"weight": "pytorch_model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def named_by_the_config(folder, pickled):
    (folder / "pytorch_model.bin").write_bytes(pickled)
    settings = json.loads((folder / "config.json").read_text())
    settings["transformers_weights"] = "pytorch_model.bin"
    (folder / "config.json").write_text(json.dumps(settings))


def under_the_name_of_safetensors(folder, pickled):
    (folder / "model.safetensors").write_bytes(pickled)


MODELS = [bin_alone, shards_alone, named_by_an_index, named_by_the_config]


@pytest.mark.parametrize("change", [*MODELS, under_the_name_of_safetensors])
def test_a_models_pickle_ends_with_one_message(folder, pickled, marker, change):
    change(folder, pickled)
    result = hyperfit("generate", folder, "--prompt", "x")
    assert result.exit_code == 2
    assert not marker.exists()
    if change in MODELS:
        assert "pytorch_model" in result.output
        assert "pickles can run code and are never loaded" in result.output
        assert "model.save_pretrained(folder)" in result.output


@pytest.mark.parametrize("beside", [None, "embeddings.safetensors"])
def test_an_adapters_pickle_ends_with_one_message(folder, tmp_path, pickled, marker, beside):
    own = tmp_path / "adapter"
    adapter(own, load_model(ModelConfig(name=str(folder), device="cpu")))
    (own / "adapter_model.safetensors").unlink()
    (own / "adapter_model.bin").write_bytes(pickled)
    if beside:
        save_file({"x": torch.ones(1)}, own / beside)
    result = hyperfit("generate", own, "--prompt", "x")
    assert result.exit_code == 2
    assert "only adapter_model.bin" in result.output
    assert "an adapter: in PEFT" in result.output
    assert not marker.exists()


def test_a_runs_pickle_is_refused(folder, tmp_path, pickled, marker):
    run, base = RunFolder(tmp_path / "run"), ModelConfig(name=str(folder), device="cpu")
    adapter(run.adapter, load_model(base))
    (run.adapter / "adapter_model.safetensors").unlink()
    (run.adapter / "adapter_model.bin").write_bytes(pickled)
    with pytest.raises(InputError, match="only adapter_model.bin"):
        load_result(run, base)
    shutil.rmtree(run.adapter)
    shutil.copytree(folder, run.model)
    bin_alone(run.model, pickled)
    with pytest.raises(InputError, match="only pickle weights"):
        load_result(run, base)
    assert not marker.exists()


def test_a_checkpoints_pickle_is_refused(tmp_path, pickled, marker):
    with sealed_folder(tmp_path / "step-3", {"step": 3}) as sealed:
        (sealed / "weights.bin").write_bytes(pickled)
        (sealed / "weights.safetensors").write_bytes(pickled)
        (sealed / "optimizer.bin").write_bytes(pickled)
    with pytest.raises(InputError, match="weights.safetensors is damaged"):
        Checkpoints(tmp_path, {}).weights(3)
    with pytest.raises(InputError, match="weights.safetensors is damaged"):
        Checkpoints(tmp_path, {}).load(3, {}, None)
    assert not marker.exists()


def test_an_adapter_on_the_hub_that_is_pickled_is_refused(
    folder, tmp_path, hub_cache, pickled, marker
):
    own, base = tmp_path / "adapter", ModelConfig(name=str(folder), device="cpu")
    model = load_model(base)
    adapter(own, load_model(base))
    (own / "adapter_model.safetensors").unlink()
    (own / "adapter_model.bin").write_bytes(pickled)
    publish(hub_cache, "lab/adapter", {"a" * 40: own}, {"main": "a" * 40})
    with pytest.raises(InputError, match="only adapter_model.bin"):
        put_adapter(model, locate(ModelConfig(name="lab/adapter")), base)
    assert not marker.exists()


def test_a_model_on_the_hub_that_is_pickled_is_refused(folder, hub_cache, pickled, marker):
    bin_alone(folder, pickled)
    publish(hub_cache, "lab/model", {"a" * 40: folder}, {"main": "a" * 40})
    with pytest.raises(InputError, match="lab/model"):
        load_model(ModelConfig(name="lab/model", device="cpu"))
    assert not marker.exists()


def test_an_adapter_that_loads_others_or_modules_is_refused(folder, tmp_path):
    own, base = tmp_path / "adapter", ModelConfig(name=str(folder), device="cpu")
    model = tiny_model()
    adapter(own, load_model(base))
    path = own / "adapter_config.json"
    settings = json.loads(path.read_text())
    for change in ({"peft_type": "XLORA"}, {"megatron_config": {"a": 1}, "megatron_core": "this"}):
        path.write_text(json.dumps(settings | change))
        with pytest.raises(InputError, match="loads more by name"):
            put_adapter(model, locate(ModelConfig(name=str(own))), base)


def test_no_library_opens_one_while_it_loads(tmp_path, pickled, marker):
    file, original = tmp_path / "x.bin", torch.load
    file.write_bytes(pickled)
    refused = pytest.raises(InputError, match="x.bin of some-model holds pickled")
    with refused, without_pickles("some-model"):
        torch.load(file, weights_only=False)
    assert torch.load is original
    assert not marker.exists()


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_reads_pickles(path):
    modules, calls = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Call):
            calls.add(ast.unparse(node.func))
            assert "allow_pickle" not in {each.arg for each in node.keywords}
    assert not modules & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not calls & {"torch.load", "np.load", "numpy.load", "pandas.read_pickle"}
