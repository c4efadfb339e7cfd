"""Numbers and sizes that no model has, by the file and the key that says them."""

import json
import shutil

import pytest

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import INDEX
from hyperfitting.models.config_file import require_numbers, require_sizes
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.models.located import locate
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("whole") / "base")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "m")


def say(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return ModelConfig(name=str(folder), device="cpu")


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"a": NaN}', "a is nan"), ('{"a": {"b": [1, -Infinity]}}', "a.b is -inf"),
     ('{"a": 1e999}', "a is inf"), ('{"a": {"__float__": "NaN"}}', "a is nan"),
     ('{"time_step_limit": [NaN, Infinity]}', "time_step_limit is nan")],
)  # fmt: skip
def test_a_number_that_is_none_is_refused_by_its_key(text, said):
    with pytest.raises(InputError, match=f"config.json of m says that {said}"):
        require_numbers(json.loads(text), "config.json of m")


def test_mamba_2_has_no_upper_limit_of_its_time_steps():
    for limit in ("Infinity", '{"__float__": "Infinity"}'):
        text = f'{{"eps": 1e-6, "text_config": {{"time_step_limit": [0.0, {limit}]}}}}'
        require_numbers(json.loads(text), "config.json of m")


@pytest.mark.parametrize(
    ("config", "said"),
    [({"vocab_size": -5}, "says that vocab_size is -5"),
     ({"text_config": {"n_head": 0}}, "says that n_head is 0"),
     ({"num_hidden_layers": 5000}, "asks for 5,000 layers")],
)  # fmt: skip
def test_a_size_that_no_model_has_is_refused_by_its_key(config, said):
    with pytest.raises(InputError, match=f"config.json of m {said}"):
        require_sizes(config, "config.json of m")
    require_sizes({"vocab_size": 7, "head_dim": None, "n_head": [2, 3], "text_config": 1}, "x")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"num_attention_heads": 0}, "says that num_attention_heads is 0"),
     ({"rms_norm_eps": float("nan")}, "says that rms_norm_eps is nan"),
     ({"hidden_size": "abc"}, "cannot be loaded: .*'hidden_size' expected int"),
     ({"model_type": "weird"}, "cannot be loaded: .*`weird`")],
)  # fmt: skip
def test_the_config_is_named_when_it_is_at_fault(folder, changes, said):
    config = say(folder, **changes)
    with pytest.raises(InputError, match=rf"^config\.json of {folder} {said}"):
        load_tokenizer(config), load_model(config)


def test_the_tokenizer_is_not_told_as_the_config(folder):
    (folder / "tokenizer.json").write_text("[]")
    with pytest.raises(InputError, match="^the model .* cannot be loaded"):
        load_tokenizer(say(folder))


def test_an_index_that_names_a_file_elsewhere_is_named(folder):
    (folder / "model.safetensors").unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    with pytest.raises(InputError, match=rf"^{INDEX} of {folder} names weights elsewhere") as error:
        locate(ModelConfig(name=str(folder))).weight_files()
    assert "'../outside.safetensors' leads out of its folder" in str(error.value)
