"""Devices and dtypes: the only file that chooses them.

Weights are loaded in float32: near zero loss updates are smaller than bfloat16's spacing, and
greedy ties and entropies depend on the logits' last bits. Training may compute in bfloat16; what
is trained stays float32 there too.
"""

import sys
import time
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.types import CausalLM

DTYPE = torch.float32
# A product of this size (rows, inputs, outputs) tells how fast a CPU multiplies; bfloat16 is worth
# a hint from this speed-up on.
PRODUCT, WORTH_SAYING = (128, 256, 512), 1.5
Precision = Literal["fp32", "bf16"]


def choose_device(config: ModelConfig) -> torch.device:
    """The device a run uses.

    Raises:
        InputError: CUDA was asked for and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "the device is 'cuda', but torch finds no CUDA device here",
            needed="a CUDA build of torch and a GPU, or --device cpu",
        )
    wants_cpu = config.device == "cpu" or not torch.cuda.is_available()
    return torch.device("cpu" if wants_cpu else "cuda")


def choose_precision(asked: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """Precision of products in training.

    Raises:
        InputError: bf16 was asked for on a GPU that lacks it.
    """
    has_bf16 = device.type == "cpu" or torch.cuda.is_bf16_supported()
    if asked == "bf16" and not has_bf16:
        raise InputError(
            f"train.precision is bf16, which {torch.cuda.get_device_name(device)} lacks",
            needed="a GPU with bf16, or train.precision=fp32",
        )
    if asked == "auto":
        return "bf16" if device.type == "cuda" and has_bf16 else "fp32"
    return asked


def faster_bf16(
    asked: Literal["auto", "fp32", "bf16"], precision: Precision, device: torch.device
) -> str | None:
    """That products in bfloat16 are faster on this CPU, measured now; None where they are not.

    None too where a precision was asked for. Few CPUs have such products (AVX512-BF16, AMX).
    """
    if device.type != "cpu" or asked != "auto" or precision != "fp32":
        return None
    speedup = bf16_speedup()
    if speedup < WORTH_SAYING:
        return None
    return (
        f"this CPU multiplies bfloat16 {speedup:.1f} times as fast as float32: "
        "train.precision=bf16 trains faster (what is trained stays float32)"
    )


@cache
def bf16_speedup() -> float:
    """Seconds of a float32 product on this CPU over those of the same product in bfloat16.

    Measured once a process: where bfloat16 is emulated, it takes a fifth of a second.
    """
    float32, bfloat16 = (_seconds_of_product(dtype) for dtype in (DTYPE, torch.bfloat16))
    return float32 / bfloat16


def _seconds_of_product(dtype: torch.dtype) -> float:
    """The fastest of a few, after one that sets up."""
    rows, inputs, outputs = PRODUCT
    a, b = torch.ones(rows, inputs, dtype=dtype), torch.ones(inputs, outputs, dtype=dtype)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def make_accelerator(
    device: torch.device,
    precision: Precision,
    *,
    track: Sequence[str] = (),
    folder: Path | None = None,
) -> Accelerator:
    """Accelerate's autocast, backward pass and trackers for this device and precision.

    Its state is shared by a process and refuses a second precision; runs of one process may
    differ, so a state that does not fit is dropped.

    Raises:
        InputError: a tracker's package is not installed.
    """
    for name in track:
        if find_spec(name) is None:
            raise InputError(
                f"monitor.track names {name}, which is not installed", needed=f"pip install {name}"
            )
    wanted = "bf16" if precision == "bf16" else "no"
    state = AcceleratorState._shared_state
    if state and (state["_mixed_precision"] != wanted or state["device"].type != device.type):
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=wanted,
        log_with=list(track) or None,
        project_dir=str(folder) if folder else None,
    )


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now: GPU memory, or main memory.

    What torch has taken of a GPU and does not use is free for torch.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return int(psutil.virtual_memory().available)


def peak_bytes(device: torch.device) -> int | None:
    """The most memory that was taken so far: of a GPU by torch, else by this process.

    None where the system does not tell.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def wait_for(device: torch.device) -> None:
    """Return when everything that was started on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cast_weights(model: CausalLM, dtype: torch.dtype) -> None:
    """Mutates `model`: weights of a floating type, as a loader that is asked for it gives them.

    Buffers keep their dtype: in 16 bits the rotary frequencies would turn far positions visibly. A
    layer whose weights are codes of 8 bits keeps them, and the scales that they are read with.
    """
    for module in model.modules():
        own = [p for p in module.parameters(recurse=False) if p.is_floating_point()]
        if any(parameter.element_size() < 2 for parameter in own):
            continue
        for parameter in own:
            parameter.data = parameter.data.to(dtype)
