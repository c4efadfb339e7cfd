"""The automatic learning rate: what it is of known weights, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from hyperfitting.config.methods import METHODS
from hyperfitting.errors import InputError
from hyperfitting.train.methods import prepare
from hyperfitting.train.rate import size_of_weights
from tests.cli.test_cli import train
from tests.tiny import tiny_model
from tests.train.running import settings


def root_mean_square(arrays):
    """By numpy, in float64, over all numbers of all arrays."""
    numbers = np.concatenate([np.asarray(a.detach(), dtype=np.float64).ravel() for a in arrays])
    return np.sqrt((numbers**2).mean())


@pytest.mark.parametrize("method", ["full_sft", "lisa", "late_stage_sft", "late_half_sft"])
def test_a_rate_is_the_methods_share_of_the_size_of_the_trained_matrices(method):
    trainable = prepare(tiny_model(), settings(method=method, learning_rate="auto"))
    size = root_mean_square(t for t in trainable.tensors().values() if t.ndim == 2)
    assert trainable.learning_rate == float(f"{METHODS[method].relative_rate * size:.1e}")
    assert trainable.learning_rate > 0


@pytest.mark.parametrize("method", ["full_lora", "late_stage_lora", "early_stage_lora"])
def test_an_adapters_rate_is_relative_to_the_weights_over_its_a(method):
    config = settings(method=method, learning_rate="auto", first_blocks=2)
    model = tiny_model()
    weights = dict(model.named_parameters())
    trainable = prepare(model, config)
    a = {n: t for n, t in trainable.tensors().items() if ".lora_A." in n}
    names = [n.removeprefix("base_model.model.").replace(".lora_A.default", "") for n in a]
    size = root_mean_square([weights[n] for n in names]) / root_mean_square(a.values())
    assert trainable.learning_rate == float(f"{METHODS[method].relative_rate * size:.1e}")


def test_weights_three_times_as_large_train_at_three_times_the_rate():
    rates = []
    for factor in (1, 3):
        model = tiny_model()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= factor
        found = prepare(model, settings(method="late_stage_sft", learning_rate="auto"))
        rates.append(size_of_weights(found.model, found.tensors()))
    assert rates[1] == pytest.approx(3 * rates[0], rel=1e-6)


def test_a_given_rate_is_taken_as_it_is():
    config = settings(method="full_sft", learning_rate=0.0123456)
    assert prepare(tiny_model(), config).learning_rate == 0.0123456


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_weights_that_no_rate_suits_are_refused(value):
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    with pytest.raises(InputError, match="which no rate suits") as caught:
        prepare(model, settings(method="full_sft", learning_rate="auto"))
    assert "train.learning_rate=1e-5" in caught.value.needed


def test_adapted_weights_in_a_format_of_their_own_are_refused():
    trainable = prepare(tiny_model(), settings(method="full_lora", learning_rate="auto"))
    for module in trainable.model.modules():
        if hasattr(module, "base_layer"):
            weight = module.base_layer.weight.data.to(torch.float8_e4m3fn)
            module.base_layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    with pytest.raises(InputError, match="holds float8_e4m3fn numbers"):
        size_of_weights(trainable.model, trainable.tensors())


def test_a_run_says_and_keeps_the_rate_it_trained_at(model_folder, texts_file, tmp_path):
    run = tmp_path / "run"
    result = train(model_folder, texts_file, run, "train.learning_rate=auto", "train.epochs=1")
    assert result.exit_code == 0, result.output
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["config"]["train"]["learning_rate"] == "auto"
    assert f"learning rate {manifest['learning_rate']:g}, by the size" in result.output

    given = tmp_path / "given"
    rate = f"train.learning_rate={manifest['learning_rate']}"
    assert train(model_folder, texts_file, given, rate, "train.epochs=1").exit_code == 0
    losses = [
        json.loads((r / "manifest.json").read_text())["training"]["train_loss"]
        for r in (run, given)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("value", ["fast", "-1", "0", ".nan"])
def test_what_is_no_rate_is_refused_with_what_is(model_folder, texts_file, tmp_path, value):
    result = train(model_folder, texts_file, tmp_path / "run", f"train.learning_rate={value}")
    assert result.exit_code == 2
    message = " ".join(result.output.split())
    assert "'train.learning_rate' is" in message
    assert "or auto" in message
