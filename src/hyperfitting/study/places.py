"""What the steps of a plan run with that run side by side: cores, a GPU each, and the terminal."""

import os
import shutil
import sys

import torch


def environment(place: int, parallel: int, together: int) -> dict[str, str]:
    """Variables of a step at one of `parallel` places; what the user has set stays.

    `together` steps run side by side while it does, and share the cores.
    """
    return _threads(together) | _terminal(parallel) | _gpu(place, parallel)


def _threads(together: int) -> dict[str, str]:
    if together == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // together))}


def _gpu(place: int, parallel: int) -> dict[str, str]:
    """One of several GPUs; with fewer GPUs than places they are shared."""
    count = torch.cuda.device_count()
    if parallel == 1 or count < 2:
        return {}
    named = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    return {"CUDA_VISIBLE_DEVICES": named[place % len(named)]}


def _terminal(parallel: int) -> dict[str, str]:
    """A step writes through a pipe: where a person watches, it is to draw its bar all the same."""
    if parallel > 1 or not sys.stderr.isatty():
        return {}
    columns, lines = shutil.get_terminal_size()
    return {
        "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "COLUMNS": str(columns), "LINES": str(lines),
    }  # fmt: skip
