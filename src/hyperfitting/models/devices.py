"""Devices and dtypes: the only file that chooses them.

Weights are loaded in float32: near zero loss updates are smaller than bfloat16's spacing, and
greedy ties and entropies depend on the logits' last bits. Training may compute in bfloat16; what
is trained stays float32 there too.
"""

from collections.abc import Sequence
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
    """Memory that is free on a device now: GPU memory, or main memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def wait_for(device: torch.device) -> None:
    """Return when everything that was started on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def halve_frozen_weights(model: CausalLM) -> None:
    """Mutates `model`: bfloat16 weights, for a base that stays frozen.

    Buffers keep their dtype: in bfloat16 the rotary frequencies would turn far positions visibly.
    """
    for parameter in model.parameters():
        if parameter.dtype == DTYPE:
            parameter.data = parameter.data.to(torch.bfloat16)
