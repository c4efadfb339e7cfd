"""The tail fed from a cache is the whole model: bit for bit, for every family."""

from functools import partial

import numpy as np
import pytest
import torch

from hyperfitting.data.windows import Windows
from hyperfitting.errors import InputError
from hyperfitting.models import anatomy as anatomy_module
from hyperfitting.models.anatomy import anatomy
from hyperfitting.models.blocks import Tail, hidden_entering, record_inputs
from hyperfitting.models.forward import window_losses
from hyperfitting.train import setup as training_setup
from hyperfitting.train.engine import engine_window_losses
from hyperfitting.train.loop import epoch_rows
from hyperfitting.train.loss import Head, head_logits
from hyperfitting.train.methods import prepare
from hyperfitting.train.products import use_adapted_products
from hyperfitting.train.setup import GPU_STEPS
from tests.conftest import random_rows
from tests.tiny import FAMILIES, tiny_model, two_ropes
from tests.train.running import CPU, build, run, settings, windows

# An expert multiplies the tokens of all windows that chose it in one product, so the last bit of
# a window's hidden states depends on which windows share its batch.
EXPERTS = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe")


def test_the_table_lists_every_tiny_family():
    assert set(anatomy_module.FAMILIES) == set(FAMILIES)


@pytest.mark.parametrize("cut", [0, 2])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_tail_logits_are_the_models_own_bit_for_bit(family, cut):
    model = tiny_model(family, blocks=4)
    parts = anatomy(model)
    ids_BT = torch.tensor(random_rows(4, 24))  # longer than the sliding windows
    expected = model(ids_BT).logits
    inputs = record_inputs(parts, torch.tensor(random_rows(4, 24, seed=9)))  # of other tokens
    normed = Tail(parts, cut)(hidden_entering(parts, ids_BT, cut), inputs[cut:])
    found = head_logits(normed, Head(parts.head.weight, parts.softcap))
    assert torch.equal(found, expected)
    assert found.std() > 0.1, "logits that differ, or the test shows nothing"


def after_training(family, cache, method="late_stage_lora", **options):
    trainable, state = run(
        tiny_model(family), settings(method, cache=cache, epochs=10), windows(), **options
    )
    assert state.step == 20
    return trainable, state


@pytest.mark.parametrize("method", ["late_stage_lora", "late_stage_sft"])
@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_steps_from_a_cache_are_those_of_an_uncached_run(family, method, tmp_path):
    plain, expected = after_training(family, "off", method)
    if family in EXPERTS:
        within = {"rtol": 1e-3, "atol": 1e-4}
        cached, state = after_training(family, "ram", method)
        assert state.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
        for a, b in zip(cached.tensors().values(), plain.tensors().values(), strict=True):
            torch.testing.assert_close(a, b, **within)
        plain, expected = cached, state
    for cache in ("ram", "disk", "disk"):  # the second time the folder is reopened
        cached, state = after_training(family, cache, method, folder=tmp_path)
        assert state.train_loss == expected.train_loss
        assert state.step_losses == expected.step_losses
        for (name, a), b in zip(cached.tensors().items(), plain.tensors().values(), strict=True):
            assert torch.equal(a, b), name
    for name, tensor in plain.tensors().items():
        if ".lora_B." in name:
            assert tensor.abs().max() > 0, f"{name} did not move"
    frozen = {n: p for n, p in cached.model.named_parameters() if n not in cached.names}
    with torch.no_grad():
        for name, p in tiny_model(family).named_parameters():
            inner = f"base_model.model.{name}" if cached.has_adapter else name
            outer, _, last = inner.rpartition(".")
            kept = frozen.get(inner, frozen.get(f"{outer}.base_layer.{last}"))
            if kept is None:
                assert inner in cached.names, f"{name} is neither trained nor frozen"
            else:
                assert torch.equal(kept, p), f"{name} changed"
    assert len(frozen) > 3


@pytest.mark.parametrize("family", FAMILIES)
def test_an_uncached_run_agrees_with_a_plain_peft_loop(family):
    """An oracle that shares nothing with the engine: the whole model, PEFT's forward pass."""
    config = settings("late_stage_lora", epochs=3)
    _, state = run(tiny_model(family), config)
    plain = prepare(tiny_model(family), config).model
    optimizer = torch.optim.AdamW(
        [p for p in plain.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0
    )
    ids, losses = torch.from_numpy(windows().ids_NT), []
    for epoch in (1, 2, 3):
        for rows in epoch_rows(config, epoch, 9):
            logits = plain(ids[rows]).logits[:, :-1].flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, ids[rows][:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert state.train_loss == pytest.approx(np.mean(np.reshape(losses, (3, 2)), axis=1), rel=2e-4)


def test_no_block_below_the_cut_runs_during_an_epoch():
    trainable, _, trainer = build(tiny_model(), settings("late_stage_lora"))
    calls = []
    for index, block in enumerate(anatomy(trainable.model).blocks.values()):
        block.register_forward_hook(lambda *_, index=index: calls.append(index))
    anatomy(trainable.model).embedding.register_forward_hook(lambda *_: calls.append("embedding"))
    trainer.run()
    assert set(calls) == {1, 2}
    assert len(calls) == 2 * 6


def test_frozen_blocks_keep_no_activations_without_a_cache():
    trainable, _, trainer = build(tiny_model(), settings("late_stage_lora", cache="off"))
    below = next(iter(anatomy(trainable.model).blocks.values()))
    wants = []
    below.register_forward_hook(lambda *args: wants.append(args[2].requires_grad))
    trainer.run()
    assert wants
    assert not any(wants)


def test_window_losses_agree_with_the_whole_model():
    data = windows(7)
    _, setup, trainer = build(tiny_model("gemma2"), settings("late_stage_lora"), data)
    trainer.run()
    expected = window_losses(trainer.trainable.model, data.ids_NT, data.label_NT, data.length_N)
    found = engine_window_losses(setup.engine, setup.train, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("method", ["full_sft", "late_stage_lora"])
@pytest.mark.parametrize("place", ["train", "heldout"])
def test_windows_whose_padding_would_choose_the_rope_are_refused(method, place):
    mixed = windows(4, 24)
    mixed.length_N[:] = [16, 24, 20, 9]
    data, heldout = (mixed, windows(4, 9)) if place == "train" else (windows(4, 9), mixed)
    with pytest.raises(InputError, match="(?s)9 to 24 tokens.*more than 16.*window_tokens=16"):
        build(two_ropes(), settings(method), data, heldout=heldout)


def test_windows_on_one_side_of_the_switch_train():
    for width, shortest in ((40, 17), (16, 5)):
        one_side = windows(4, width)
        one_side.length_N[0] = shortest
        build(two_ropes(), settings("full_sft"), one_side, heldout=windows(4, width))[2].run()


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_padding_changes_neither_loss_nor_gradient(family):
    short = windows(4, 7)
    ids, label = np.zeros((4, 12), dtype=np.int64), np.zeros((4, 12), dtype=bool)
    ids[:, :7], label[:, :7] = short.ids_NT, short.label_NT
    length = np.array([7, 7, 7, 12])  # one full window keeps the width
    ids[3, 7:] = 5
    padded = Windows(ids, label, length)
    _, a = run(tiny_model(family), settings("late_stage_sft", epochs=2), short)
    _, b = run(tiny_model(family), settings("late_stage_sft", epochs=2), padded)
    assert a.train_loss == pytest.approx(b.train_loss, rel=1e-5)


def test_an_unknown_family_trains_without_a_cache_only():
    def foreign():
        model = tiny_model()
        model.config.model_type = "foreign"
        return model

    with pytest.raises(InputError, match=r"(?s)'foreign'.*--prefix-cache off trains the same"):
        run(foreign(), settings("late_stage_lora"))
    _, a = run(foreign(), settings("late_stage_lora", cache="off"))
    _, b = run(tiny_model(), settings("late_stage_lora", cache="off"))
    assert a.train_loss == pytest.approx(b.train_loss, rel=1e-4)
    for option, value in (("gradient_checkpointing", True), ("compile", "on")):
        with pytest.raises(InputError, match=f"{option} is on"):
            run(foreign(), settings("full_lora", **{option: value}))


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gpt_neox"])
def test_products_through_one_matrix_agree_with_pefts(family):
    grads, logits = [], []
    ids = torch.tensor(random_rows(3, 9))
    for own in (False, True):
        trainable = prepare(tiny_model(family), settings("full_lora"))
        generator = torch.Generator().manual_seed(1)
        for tensor in trainable.tensors().values():
            tensor.data = torch.randn(tensor.shape, generator=generator) * 0.1
        if own:
            assert use_adapted_products(trainable.model) == len(trainable.names) // 2
        out = trainable.model(ids).logits
        out.square().mean().backward()
        logits.append(out.detach())
        grads.append([t.grad for t in trainable.tensors().values()])
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_bf16_products_keep_float32_masters():
    trainable, state = run(tiny_model(), settings("late_stage_lora", precision="bf16", epochs=20))
    assert all(t.dtype == torch.float32 for t in trainable.tensors().values())
    assert state.train_loss[-1] < state.train_loss[0]


GPU = torch.device("cuda")
MANY, FEW = 10**6, 1  # epochs


@pytest.mark.parametrize(
    ("asked", "epochs", "device", "compiler", "expected"),
    [
        ("off", MANY, CPU, "g++", False),
        ("on", FEW, CPU, "g++", True),
        ("auto", FEW, CPU, "g++", False),
        ("auto", MANY, CPU, "g++", True),
        ("auto", MANY, CPU, None, False),
        ("auto", GPU_STEPS // 2 - 1, GPU, "gcc", False),
        ("auto", GPU_STEPS // 2, GPU, "gcc", True),
        ("auto", MANY, GPU, None, False),
        ("on", FEW, GPU, None, InputError),
    ],
)
def test_what_is_compiled_is_asked_for_or_pays(
    monkeypatch, asked, epochs, device, compiler, expected
):
    config = settings("late_stage_lora", compile=asked, epochs=epochs)
    *_, setup, _ = build(tiny_model(), settings("late_stage_lora"))
    monkeypatch.setattr(training_setup.shutil, "which", lambda _: compiler)
    monkeypatch.setattr(training_setup, "CPU_OPERATIONS", 1e10)  # of a tiny model's many epochs
    decide = partial(training_setup._compiles, config, setup.engine, setup.train, device)
    if expected is InputError:
        with pytest.raises(InputError, match="there is no compiler gcc"):
            decide()
    else:
        assert decide() is expected


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full_sft", "late_stage_lora"])
def test_compiled_blocks_train_the_same(method):
    _, a = run(tiny_model(), settings(method, compile="off"))
    _, b = run(tiny_model(), settings(method, compile="on"))
    assert a.train_loss == pytest.approx(b.train_loss, rel=1e-4)
