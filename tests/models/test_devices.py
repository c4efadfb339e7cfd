"""When a faster precision is named: where it was measured, and nothing else was asked for."""

import pytest
import torch

from hyperfitting.errors import InputError
from hyperfitting.models import devices
from hyperfitting.models.devices import (
    bf16_speedup,
    cast_weights,
    choose_precision,
    faster_bf16,
    free_bytes,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("speedup", "asked", "precision", "device", "is_said"),
    [
        (4.2, "auto", "fp32", CPU, True),
        (1.4, "auto", "fp32", CPU, False),
        (4.2, "fp32", "fp32", CPU, False),
        (4.2, "bf16", "bf16", CPU, False),
        (4.2, "auto", "fp32", GPU, False),
    ],
)
def test_a_faster_precision_is_named_where_it_was_measured(
    monkeypatch, speedup, asked, precision, device, is_said
):
    monkeypatch.setattr(devices, "bf16_speedup", lambda: speedup)
    said = faster_bf16(asked, precision, device)
    assert (said is not None) == is_said
    if said:
        assert "4.2 times" in said
        assert "train.precision=bf16" in said


@pytest.mark.parametrize(
    ("asked", "device", "has_bf16", "precision"),
    [
        ("auto", CPU, True, "fp32"),
        ("bf16", CPU, True, "bf16"),
        ("fp32", CPU, True, "fp32"),
        ("auto", GPU, True, "bf16"),
        ("auto", GPU, False, "fp32"),
        ("fp32", GPU, True, "fp32"),
    ],
)
def test_a_precision_is_chosen_by_what_the_device_has(
    monkeypatch, asked, device, has_bf16, precision
):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert choose_precision(asked, device) == precision


def test_what_torch_holds_of_a_gpu_and_does_not_use_is_free(monkeypatch):
    sizes = {"memory_reserved": 70, "memory_allocated": 30}
    for name, size in sizes.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, size=size: size)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5, 100))
    assert free_bytes(GPU) == 5 + 40


def test_layers_of_coded_weights_are_not_cast():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    coded = torch.ones(3, 3).to(torch.float8_e4m3fn)
    model[1].weight = torch.nn.Parameter(coded, requires_grad=False)
    model[1].scale = torch.nn.Parameter(torch.tensor([0.1]), requires_grad=False)
    cast_weights(model, torch.bfloat16)
    found = {name: parameter.dtype for name, parameter in model.named_parameters()}
    assert found == {
        "0.weight": torch.bfloat16, "0.bias": torch.bfloat16,
        "1.weight": torch.float8_e4m3fn, "1.bias": torch.float32, "1.scale": torch.float32,
    }  # fmt: skip


def test_bfloat16_is_refused_on_a_gpu_without_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "an old GPU")
    with pytest.raises(InputError, match="train.precision is bf16, which an old GPU lacks"):
        choose_precision("bf16", GPU)


def test_a_speedup_is_one_of_the_same_product(monkeypatch):
    """The clock is read around each product: bfloat16's take a third of float32's here."""
    now = [0.0]

    def clock():
        return now[0]

    class Timed:
        def __init__(self, dtype):
            self.seconds = 3.0 if dtype == torch.float32 else 1.0

        def __matmul__(self, other):
            now[0] += self.seconds

    monkeypatch.setattr(devices.time, "perf_counter", clock)
    monkeypatch.setattr(devices.torch, "ones", lambda *size, dtype: Timed(dtype))
    bf16_speedup.cache_clear()
    assert bf16_speedup() == 3.0
    monkeypatch.undo()
    bf16_speedup.cache_clear()
    assert bf16_speedup() > 0
