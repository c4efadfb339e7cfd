"""The trained weights as they were before the first step, kept on disk while a run trains.

Only a monitoring point reads them, to rank what the model writes in the original. In memory they
are as large as the model where every weight trains.
"""

import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor


class StartOnDisk(Mapping[str, Tensor]):
    """Tensors by name, each read anew when it is asked for, from a file without a name.

    The file is gone with the process, however that ends.
    """

    def __init__(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as this is)
        weakref.finalize(self, self._file.close)
        self._known: dict[str, tuple[int, torch.dtype, torch.Size]] = {}
        for name, tensor in tensors.items():
            self._known[name] = (self._file.tell(), tensor.dtype, tensor.shape)
            self._file.write(_bytes_of(tensor.detach().cpu().contiguous()).numpy().data)

    def __getitem__(self, name: str) -> Tensor:
        start, dtype, shape = self._known[name]
        found = torch.empty(shape, dtype=dtype)
        self._file.seek(start)
        read = self._file.readinto(_bytes_of(found).numpy().data)
        assert read == found.numel() * found.element_size(), f"{name}: the file was cut short"
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _bytes_of(tensor: Tensor) -> Tensor:
    """A view of a contiguous tensor's bytes."""
    return tensor.reshape(-1).view(torch.uint8)
