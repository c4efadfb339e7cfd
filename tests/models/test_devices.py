"""When a faster precision is named: where it was measured, and nothing else was asked for."""

import pytest
import torch

from hyperfitting.models import devices
from hyperfitting.models.devices import bf16_speedup, faster_bf16

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
