"""An attention cache with room to grow.

transformers' own copies all keys and values at every step, a quarter of the time of decoding with
a small model on a CPU. Layers of other kinds (sliding windows, linear attention) stay as they are.
"""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 64  # positions that are added at a time


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Keys and values at the front of buffers, [B, heads, room, head width].

    An update may cover the first rows only; the others then stay behind until `settle`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffers: tuple[Tensor, Tensor] | None = None
        self.length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append, and return all keys and values so far as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        if self.buffers is None or end > self.buffers[0].shape[-2]:
            self.buffers = (self._grown(key_states, end, 0), self._grown(value_states, end, 1))
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[: len(states), :, self.length : end] = states
        self.length = end
        self.keys, self.values = (b[: len(key_states), :, :end] for b in self.buffers)
        return self.keys, self.values

    def _grown(self, states: Tensor, end: int, place: int) -> Tensor:
        batch, heads, _, width = states.shape
        if self.buffers is None:
            return states.new_empty((batch, heads, end + ROOM, width))
        old = self.buffers[place]
        buffer = states.new_empty((len(old), heads, end + ROOM, width))
        buffer[:, :, : self.length] = old[:, :, : self.length]
        return buffer

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take rows in another order; the same row may be taken several times."""
        assert self.buffers is not None, "nothing has been cached"
        self.buffers = (self.buffers[0][beam_idx], self.buffers[1][beam_idx])
        self.keys, self.values = (buffer[:, :, : self.length] for buffer in self.buffers)

    def settle(self, row_M: Tensor) -> None:
        """Let every row's last position be that of row `row_M`; earlier positions stay."""
        assert self.buffers is not None, "nothing has been cached"
        last = self.length - 1
        for buffer in self.buffers:
            buffer[:, :, last] = buffer[row_M, :, last]


def only_roomy(cache: DynamicCache) -> bool:
    """Whether every layer is one of ours."""
    return all(isinstance(each, RoomyLayer) for each in cache.layers)


def settle(cache: DynamicCache, row_M: Tensor) -> None:
    """Go on from rows `row_M`, where all rows that take from one agree but for the last token.

    Ours copy that token only; other layers are reordered as a whole.
    """
    if only_roomy(cache):
        for layer in cache.layers:
            layer.settle(row_M)
    else:
        cache.reorder_cache(row_M)


def roomy_cache(config: Any) -> DynamicCache:
    """An empty cache for a model with this config."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(each) is DynamicLayer else each for each in cache.layers]
    return cache
