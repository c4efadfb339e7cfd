"""The hidden states that enter the first trained block: computed once, kept where there is room.

Nothing below that block changes in training, so its input is a constant of the data. It is stored
in the dtype in which it was computed, and computed in batches of training's own shape: float32
products differ in the last bit between batch sizes.

Shape letters: N windows, T tokens, D hidden width.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import Anatomy
from hyperfitting.models.blocks import hidden_entering
from hyperfitting.models.devices import free_bytes, wait_for
from hyperfitting.progress import Progress, in_bytes
from hyperfitting.seals import DamagedError, open_sealed, sealed_folder
from hyperfitting.storage import free_disk, only_writer, sweep_temporaries

Place = Literal["gpu", "ram", "disk"]
MEMORY_SHARE = 0.5  # of what is free; the tail, its activations and the user need the rest
SHARD_BYTES = 2**28
VERSION = 1


@dataclass(frozen=True)
class CacheKey:
    """Everything the cached numbers depend on."""

    model_digest: str  # of weights, config and precision
    data_digest: str
    cut: int  # 0-based index of the first block that trains
    dtype: str
    batch_size: int
    num_windows: int
    num_tokens: int
    width: int
    device: str
    torch: str = torch.__version__
    transformers: str = transformers.__version__
    version: int = VERSION

    def name(self) -> str:
        """Folder name of this cache."""
        content = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:24]

    def num_bytes(self) -> int:
        """Size of the hidden states."""
        itemsize = getattr(torch, self.dtype).itemsize
        return int(self.num_windows * self.num_tokens * self.width * itemsize)


class HiddenStore(Protocol):
    """Hidden states of all windows, by row."""

    def rows(self, index_B: NDArray[np.int64]) -> Tensor:
        """Those of the chosen windows, [B, T, D], on the training device."""
        ...


@dataclass(frozen=True)
class MemoryStore:
    """In main or GPU memory."""

    hidden_NTD: Tensor
    device: torch.device

    def rows(self, index_B: NDArray[np.int64]) -> Tensor:
        """Rows, copied to the training device."""
        index = torch.from_numpy(index_B).to(self.hidden_NTD.device, non_blocking=True)
        return _to_device(self.hidden_NTD[index], self.device)


@dataclass(frozen=True)
class DiskStore:
    """Memory-mapped shards; the system keeps in memory what has room there."""

    shards: list[Tensor]
    shard_rows: int
    device: torch.device

    def rows(self, index_B: NDArray[np.int64]) -> Tensor:
        """Rows, read from the shards and copied to the training device."""
        found = [self.shards[i // self.shard_rows][i % self.shard_rows] for i in index_B.tolist()]
        return _to_device(torch.stack(found), self.device)


def _to_device(hidden_BTD: Tensor, device: torch.device) -> Tensor:
    """Copy without waiting for it: from pinned memory, or the caller's thread would wait."""
    if device.type == "cuda" and hidden_BTD.device.type == "cpu":
        hidden_BTD = hidden_BTD.pin_memory()
    return hidden_BTD.to(device, non_blocking=True)


@torch.no_grad()
def prefix_pass(
    parts: Anatomy, ids_NT: Tensor, cut: int, batch_size: int
) -> Iterator[tuple[int, Tensor]]:
    """First row and hidden states, [b, T, D], of every batch, in order.

    The last batch is filled up with rows of its own, so that all have one shape.
    """
    for start in range(0, len(ids_NT), batch_size):
        rows_B = np.resize(np.arange(start, min(start + batch_size, len(ids_NT))), batch_size)
        hidden_BTD = hidden_entering(parts, ids_NT[torch.from_numpy(rows_B)], cut)
        yield start, hidden_BTD[: len(ids_NT) - start]


def choose_place(
    asked: Literal["auto", "gpu", "ram", "disk"], size: int, device: torch.device, folder: Path
) -> Place:
    """Where the cache goes: the place asked for, or the first that has room.

    Raises:
        InputError: there is not enough room.
    """
    room: dict[Place, int] = {
        "gpu": int(free_bytes(device) * MEMORY_SHARE) if device.type == "cuda" else 0,
        "ram": int(free_bytes(torch.device("cpu")) * MEMORY_SHARE),
        "disk": free_disk(folder)[0],
    }
    if asked == "gpu" and device.type != "cuda":
        raise InputError(
            "--prefix-cache is gpu, but the run is on the CPU",
            needed="a GPU, or --prefix-cache auto, ram, disk or off",
        )
    candidates: tuple[Place, ...] = ("gpu", "ram", "disk") if asked == "auto" else (asked,)
    for place in candidates:
        if size <= room[place]:
            return place
    left = ", ".join(f"{in_bytes(room[p])} usable in {p}" for p in candidates)
    raise InputError(
        f"the prefix cache takes {in_bytes(size)}, and there are {left}"
        + (f" ({folder})" if "disk" in candidates else ""),
        needed="room for it, fewer windows (data.num_train), or --prefix-cache off",
        hint="train.prefix_cache.folder puts it on another disk",
    )


def make_store(
    parts: Anatomy,
    ids_NT: Tensor,
    key: CacheKey,
    asked: Literal["auto", "gpu", "ram", "disk"],
    folder: Path,
    device: torch.device,
    progress: Progress,
) -> HiddenStore:
    """Compute the hidden states, or open those on disk, and say where they are.

    A cache that another process is writing to disk is waited for, and then opened.

    Raises:
        InputError: no room for it.
    """
    size, target = key.num_bytes(), folder / key.name()
    if asked in ("auto", "disk"):
        store = _reopen(target, key, device, progress)
        if store is not None:
            return store
    place = choose_place(asked, size, device, folder)
    with progress.stage("prefix cache", key.num_windows) as stage:

        def tell(done: int) -> None:
            stage.update(done)

        if place == "disk":

            def wait(held: str) -> None:
                progress.say(f"{held}: the prefix cache is waited for")

            with only_writer(folder / f"{key.name()}.lock", wait):
                if not _is_whole(target, key, device):  # it is, where another was waited for
                    sweep_temporaries(target)
                    _write_shards(target, parts, ids_NT, key, tell)
            built: HiddenStore = _open_shards(target, key, device)
        else:
            where = device if place == "gpu" else torch.device("cpu")
            built = MemoryStore(_collect(parts, ids_NT, key, where, tell), device)
            wait_for(device)
        blocks = f"entering block {key.cut} (0-based)"
        at = f" at {target}" if place == "disk" else ""
        stage.update(key.num_windows, f"{in_bytes(size)} {blocks}, kept in {place}{at}")
    return built


def _is_whole(target: Path, key: CacheKey, device: torch.device) -> bool:
    try:
        _open_shards(target, key, device)
    except DamagedError:
        return False
    return True


def _reopen(
    target: Path, key: CacheKey, device: torch.device, progress: Progress
) -> DiskStore | None:
    if not target.exists():
        return None
    try:
        with progress.stage("prefix cache", key.num_windows) as stage:
            store = _open_shards(target, key, device)
            stage.update(key.num_windows, f"{in_bytes(key.num_bytes())} on disk, reused: {target}")
    except DamagedError as error:
        progress.say(f"{error}; the prefix cache is computed again")
        return None
    return store


def _collect(
    parts: Anatomy, ids_NT: Tensor, key: CacheKey, where: torch.device, tell: Callable[[int], None]
) -> Tensor:
    shape = (key.num_windows, key.num_tokens, key.width)
    hidden_NTD = torch.empty(shape, dtype=getattr(torch, key.dtype), device=where)
    for start, hidden_BTD in prefix_pass(parts, ids_NT, key.cut, key.batch_size):
        hidden_NTD[start : start + len(hidden_BTD)] = hidden_BTD
        tell(start + len(hidden_BTD))
    return hidden_NTD


def _shard_rows(key: CacheKey) -> int:
    """Windows per shard: a whole number of batches."""
    row_bytes = key.num_bytes() // key.num_windows
    return max(1, SHARD_BYTES // (row_bytes * key.batch_size)) * key.batch_size


def _write_shards(
    target: Path, parts: Anatomy, ids_NT: Tensor, key: CacheKey, tell: Callable[[int], None]
) -> None:
    with sealed_folder(target, asdict(key)) as folder:
        pending: list[Tensor] = []
        count = 0
        for start, hidden_BTD in prefix_pass(parts, ids_NT, key.cut, key.batch_size):
            pending.append(hidden_BTD.cpu())
            done = start + len(hidden_BTD)
            if sum(map(len, pending)) >= _shard_rows(key) or done == key.num_windows:
                save_file({"hidden": torch.cat(pending)}, _shard_file(folder, count))
                pending, count = [], count + 1
            tell(done)


def _shard_file(folder: Path, number: int) -> Path:
    return folder / f"hidden-{number:05}.safetensors"


def _open_shards(target: Path, key: CacheKey, device: torch.device) -> DiskStore:
    """Memory-map a cache after checking its files.

    Raises:
        DamagedError: a file has changed, or the cache is of something else.
    """
    about = open_sealed(target)
    if about != asdict(key):
        raise DamagedError(f"{target} is damaged: it belongs to another model or data set")
    count = -(-key.num_windows // _shard_rows(key))
    shards = [load_file(_shard_file(target, number))["hidden"] for number in range(count)]
    return DiskStore(shards, _shard_rows(key), device)
