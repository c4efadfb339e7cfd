"""The same numbers on a GPU: `pytest -m gpu`. On a CPU every test runs too, or none would be tried.

Two devices differ in the last bits of their products, so what one trained is near what the other
did; what a model writes and ranks is the same.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812
from transformers import GenerationConfig

from hyperfitting.generate.choose import Sample, greedy
from hyperfitting.generate.decode import decode
from hyperfitting.models.anatomy import anatomy
from hyperfitting.models.blocks import whole_model
from hyperfitting.models.devices import choose_precision
from hyperfitting.models.forward import rank_rows, score_rows
from hyperfitting.train.engine import engine_window_losses
from hyperfitting.train.loss import IGNORED, Head, summed_nll
from hyperfitting.train.prefix_cache import choose_place
from tests.cli.test_cli import hyperfit, train
from tests.conftest import random_rows
from tests.sealing import rewrite
from tests.tiny import tiny_model
from tests.train.running import CPU, build, run, settings

NEAR = {"rtol": 1e-3, "atol": 1e-4}  # after a few steps on another device


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return torch.device(request.param)


def places(device):
    return ["gpu", "ram", "disk"] if device.type == "cuda" else ["ram", "disk"]


def assert_near(found, expected, **within):
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.cpu(), expected[name].cpu(), msg=name, **within)


@pytest.mark.parametrize("trains_head", [False, True])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_the_loss_and_its_gradients_are_those_of_float64_on_all_logits(
    device, softcap, trains_head
):
    torch.manual_seed(0)
    hidden, weight = torch.randn(300, 8), torch.randn(50, 8)
    target = torch.randint(50, (300,))
    target[::7] = IGNORED
    exact_hidden, exact_weight = (t.double().requires_grad_() for t in (hidden, weight))
    logits = exact_hidden @ exact_weight.T
    logits = logits if softcap is None else torch.tanh(logits / softcap) * softcap
    expected = F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
    expected.backward()
    hidden = hidden.to(device).requires_grad_()
    weight = weight.to(device).requires_grad_(trains_head)
    found = summed_nll(hidden, Head(weight, softcap), target.to(device))
    found.backward()
    torch.testing.assert_close(found.double().cpu(), expected, rtol=1e-5, atol=1e-4)
    within = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(hidden.grad.double().cpu(), exact_hidden.grad, **within)
    assert (weight.grad is not None) == trains_head
    if trains_head:
        torch.testing.assert_close(weight.grad.double().cpu(), exact_weight.grad, **within)


@pytest.mark.parametrize("method", ["late_half_sft", "late_stage_lora", "full_sft"])
def test_training_is_a_cpus_with_each_place_of_the_cache_and_without(device, method, tmp_path):
    plain = settings(method, cache="off", epochs=8)
    expected, state = run(tiny_model(blocks=4), plain)
    assert state.train_loss[0] - state.train_loss[-1] > 0.1, "something is learned"
    caches = ["off", *places(device)] if method != "full_sft" else ["off"]
    for cache in caches:
        config = settings(method, cache=cache, epochs=8)
        found, other = run(tiny_model(blocks=4), config, device=device, folder=tmp_path)
        assert other.step_losses == pytest.approx(state.step_losses, rel=1e-4)
        assert_near(found.tensors(), expected.tensors(), **NEAR)


@pytest.mark.parametrize("place", ["gpu", "ram", "disk"])
def test_blocks_below_the_cut_leave_the_gpu_once_their_states_are_cached(device, place, tmp_path):
    if place not in places(device):
        pytest.skip("a place of GPUs")
    config = settings("late_half_sft", cache=place)
    trainable, setup, trainer = build(tiny_model(blocks=4), config, device=device, folder=tmp_path)
    parts = anatomy(trainable.model)
    where = [next(b.parameters()).device.type for b in parts.blocks.values()]
    assert where == ["cpu", "cpu", device.type, device.type]
    assert {t.device.type for t in trainable.tensors().values()} == {device.type}
    below = [p for block in list(parts.blocks.values())[:2] for p in block.parameters()]
    held = [p.data_ptr() for p in below]
    with whole_model(parts, 2, released=setup.engine.released):
        assert {p.device.type for p in below} == {device.type}
    assert [p.data_ptr() for p in below] == held, "they are frozen, and not copied back"
    before = engine_window_losses(setup.engine, setup.heldout, 4)
    trainer.run()
    expected, _ = run(tiny_model(blocks=4), settings("late_half_sft", cache="off"))
    assert_near(trainable.tensors(), expected.tensors(), **NEAR)
    assert np.abs(engine_window_losses(setup.engine, setup.heldout, 4) - before).max() > 0.01


def test_bfloat16_products_train_float32_weights_to_nearly_the_same_loss(device):
    if device.type == "cuda":
        assert choose_precision("auto", device) == "bf16"
    _, exact = run(tiny_model(blocks=4), settings("late_half_sft", epochs=6))
    config = settings("late_half_sft", epochs=6, precision="bf16")
    trainable, found = run(tiny_model(blocks=4), config, device=device)
    assert {t.dtype for t in trainable.tensors().values()} == {torch.float32}
    assert found.step_losses == pytest.approx(exact.step_losses, rel=0.02)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen2"])
def test_texts_and_ranks_are_those_of_a_cpu_and_of_transformers(device, family):
    model, here = tiny_model(family), tiny_model(family).to(device)
    contexts = random_rows(6, 9)
    config = GenerationConfig(
        max_new_tokens=20, do_sample=False, suppress_tokens=[0], pad_token_id=0, eos_token_id=0
    )
    rows = torch.tensor(contexts, device=device)
    expected = here.generate(rows, generation_config=config)[:, 9:].tolist()
    for batch_size in (6, 4, 1):
        texts = decode(here, contexts, max_new_tokens=20, banned=[0], batch_size=batch_size)
        assert [text.ids for text in texts] == expected
    for choose in (greedy, Sample([0.7] * 6, [[n] for n in range(6)])):
        found, known = (decode(each, contexts, choose, max_new_tokens=20) for each in (here, model))
        assert [text.ids for text in found] == [text.ids for text in known]
    rows = [context + text for context, text in zip(contexts, expected, strict=True)]
    assert np.array_equal(rank_rows(here, rows, 20), rank_rows(model, rows, 20))
    for a, b in zip(score_rows(here, rows, 20), score_rows(model, rows, 20), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_cache_of_a_gpu_takes_the_gpu_first(device, tmp_path):
    assert choose_place("auto", 10, device, tmp_path) == places(device)[0]


@pytest.fixture
def trained(device, tmp_path, model_folder, texts_file):
    """A run of the default method on the device, as the command makes it."""
    out = tmp_path / "run"
    more = ["--device", device.type, "train.checkpoint_steps=2", "train.epochs=4",
            "train.stop=epochs"]  # fmt: skip
    result = train(model_folder, texts_file, out, *more, method="late_half_sft")
    assert result.exit_code == 0, result.output
    return out


def weights(run_folder):
    (path,) = (run_folder / "model").glob("*.safetensors")
    return load_file(path)


def test_a_run_that_is_resumed_ends_as_the_one_that_was_not_stopped(device, trained):
    expected = weights(trained)
    shutil.rmtree(trained / "model")
    newest = max((trained / "checkpoints").iterdir(), key=lambda p: int(p.name.split("-")[1]))
    shutil.rmtree(newest)
    manifest = json.loads((trained / "manifest.json").read_text())
    manifest["status"] = "training"
    del manifest["training"]
    rewrite(trained / "manifest.json", lambda _: manifest)
    result = hyperfit("train", "--resume", "--out", trained)
    assert result.exit_code == 0, result.output
    assert "resumed after step" in result.output
    found = weights(trained)
    if device.type == "cpu":
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert_near(found, expected, **NEAR)


def test_an_evaluation_and_an_explanation_are_those_of_a_cpu(device, trained, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(trained, copied)
    small = ["natural_tokens=32", "resamples=200", "sampling_seeds=0"]
    texts, rows = [], []
    for folder, where in ((trained, device.type), (copied, CPU.type)):
        result = hyperfit("evaluate", folder, "--device", where, *small)
        assert result.exit_code == 0, result.output
        found = [json.loads(line) for path in sorted((folder / "generations").glob("*.jsonl"))
                 for line in path.open()]  # fmt: skip
        texts.append([(each["arm"], each["continuation_ids"]) for each in found])
        measured = json.loads((folder / "measurements.json").read_text())["rows"]
        rows.append(measured)
        result = hyperfit("explain", folder, "--device", where, "--only", "block_swap,geometry")
        assert result.exit_code == 0, result.output
    assert texts[0] == texts[1]
    for found, expected in zip(*rows, strict=True):
        numbers = [
            {key: row.pop(key) for key in ("mean", "low", "high", "parameters")}
            for row in (found, expected)
        ]
        assert found == expected
        for key in ("mean", "low", "high"):
            a, b = (each[key] for each in numbers)
            assert a == b if b is None else a == pytest.approx(b, rel=1e-3, abs=1e-4), expected


@pytest.mark.parametrize(
    ("method", "accumulation"),
    [("late_half_sft", 1), ("late_half_sft", 2), ("late_stage_lora", 1)],
)
def test_compiled_blocks_train_the_same(device, method, accumulation):
    """On a GPU they are CUDA graphs where gradients do not accumulate."""
    if device.type == "cpu":
        pytest.skip("minutes: see test_engine")
    both = []
    for compile in ("off", "on"):
        config = settings(method, compile=compile, gradient_accumulation=accumulation, epochs=6)
        both.append(run(tiny_model(blocks=4), config, device=device))
    (plain, a), (compiled, b) = both
    assert b.step_losses == pytest.approx(a.step_losses, rel=1e-3)
    assert_near(compiled.tensors(), plain.tensors(), rtol=1e-2, atol=1e-3)
