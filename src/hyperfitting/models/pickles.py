"""Pickles are never opened: the one place that says so, and that sees to it.

Unpickling runs what the file says. torch's `weights_only` narrows that, and had holes; so nothing
of a checkpoint is read but safetensors and JSON, whatever transformers or PEFT would fall back to.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any

import torch

from hyperfitting.errors import InputError

PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.bin.index.json")
SAFE = ".safetensors"


def pickles_among(files: Iterable[str]) -> list[str]:
    """The files that hold pickles by their names, or say which do."""
    return sorted(f for f in files if any(fnmatch(f, pattern) for pattern in PATTERNS))


def pickled(given: str) -> InputError:
    """The refusal of pickled weights; `given` names the file."""
    return InputError(
        given,
        needed=f"weights in {SAFE}; pickles can run code and are never loaded",
        hint="convert once, if you trust the file: load it in transformers (an adapter: in PEFT), "
        "then model.save_pretrained(folder)",
    )


@contextmanager
def without_pickles(name: str) -> Iterator[None]:
    """`torch.load` is refused while a library loads the checkpoint `name`.

    Names are looked at before; this holds also for a route that nobody thought of.
    """
    original = torch.load

    def refuse(file: Any, *_: Any, **__: Any) -> Any:
        raise pickled(f"{file} of {name} holds pickled weights, not {SAFE}")

    torch.load = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.load = original
