"""A tied matrix gets one gradient, the sum that autograd would have made, bit for bit."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hyperfitting.train import engine as engine_module
from hyperfitting.train import loss as loss_module
from tests.tiny import tiny_model
from tests.train.running import build, run, settings, windows

TIED = {"tie_word_embeddings": True}
LOOKUP_GRADIENT = "aten.embedding_dense_backward.default"


class Called(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def own_chunks(monkeypatch):
    """As of a large vocabulary, in chunks of which a batch has several."""
    monkeypatch.setattr(loss_module, "SMALL_VOCABULARY", 0)
    monkeypatch.setattr(loss_module, "chunk_rows", lambda head: 20)


def texts():
    """Windows with repeated tokens and with the padding token, whose rows get no gradient."""
    data = windows()
    data.ids_NT[:, 3:6] = 7
    data.ids_NT[2:4, 8] = 0
    return data


def gradients(family, *, is_shared, monkeypatch, **changes):
    with monkeypatch.context() as patch:
        if not is_shared:
            patch.setattr(engine_module, "tied_gradient", lambda embedding, head: None)
        _, setup, _ = build(tiny_model(family, **changes), settings("full_sft"), texts())
        inputs, target = setup.train.fetch(torch.arange(4).numpy())
        with Called() as called:
            (setup.engine.summed_nll(setup.train, inputs, target) * 0.1).backward()
    names = setup.engine.parts.decoder.named_parameters()
    return {name: p.grad for name, p in names}, called.names


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text", "gpt2"])
def test_gradients_are_autograds_bit_for_bit(family, monkeypatch):
    """gemma3's embedding scales its rows, gemma2's logits are capped, gpt2 adds positions."""
    shared, found = gradients(family, is_shared=True, monkeypatch=monkeypatch, **TIED)
    plain, expected = gradients(family, is_shared=False, monkeypatch=monkeypatch, **TIED)
    assert LOOKUP_GRADIENT in expected
    assert found.isdisjoint({LOOKUP_GRADIENT}) or family == "gpt2", "gpt2 looks up positions too"
    assert shared.keys() == plain.keys()
    for name, gradient in plain.items():
        assert torch.equal(shared[name], gradient), name
        assert gradient.abs().max() > 0


def test_two_matrices_have_their_own_gradients(monkeypatch):
    shared, found = gradients("llama", is_shared=True, monkeypatch=monkeypatch)
    plain, _ = gradients("llama", is_shared=False, monkeypatch=monkeypatch)
    assert LOOKUP_GRADIENT in found
    for name, gradient in plain.items():
        assert torch.equal(shared[name], gradient), name


def test_a_loss_that_is_not_ours_keeps_the_lookups_gradient(monkeypatch):
    """torch's own loss returns the head's gradient itself; that of the rows is added to it."""
    if not loss_module.has_linear_cross_entropy():
        pytest.skip("this torch has no linear_cross_entropy")
    monkeypatch.setattr(loss_module, "SMALL_VOCABULARY", 2**20)
    shared, _ = gradients("llama", is_shared=True, monkeypatch=monkeypatch, **TIED)
    plain, _ = gradients("llama", is_shared=False, monkeypatch=monkeypatch, **TIED)
    for name, gradient in plain.items():
        assert torch.equal(shared[name], gradient), name


@pytest.mark.parametrize(
    "changes",
    [{}, {"gradient_accumulation": 2, "batch_size": 2}, {"gradient_checkpointing": True}],
    ids=["plain", "accumulated", "checkpointed"],
)
@pytest.mark.parametrize("method", ["full_sft", "lisa", "late_stage_sft", "full_lora"])
def test_a_training_is_the_same(method, changes, monkeypatch):
    """Also where the matrix is frozen, and where the blocks of a step are drawn."""
    losses = []
    for is_shared in (True, False):
        with monkeypatch.context() as patch:
            if not is_shared:
                patch.setattr(engine_module, "tied_gradient", lambda embedding, head: None)
            model = tiny_model("gemma3_text", **TIED)
            trainable, state = run(model, settings(method, **changes), texts())
        losses.append((state.train_loss, trainable.tensors()))
    (one, a), (two, b) = losses
    assert one == two
    for name, value in a.items():
        assert torch.equal(value, b[name]), name
