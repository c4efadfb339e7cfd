"""Hybrids of two models that write together: each row takes every part from one of the two.

A hybrid is the original's embedding, blocks and ends (final norm and head), each taken from the
original or from the tuned model. One by one, each loads all blocks for a few rows; together, every
block of either model runs once a step, on the rows that have it.

Shape letters: B rows of a batch, T tokens, D hidden width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from hyperfitting.models.anatomy import Anatomy, anatomy, base_of
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.pair import Pair, compute_alike, exchanged
from hyperfitting.models.types import CausalLM


class HybridParts(NamedTuple):
    """Which parts are the tuned model's; all others are the original's."""

    embedding: bool
    blocks: frozenset[int]  # 0-based
    ends: bool  # final norm and head

    @contextmanager
    def made(self, pair: Pair) -> Iterator[CausalLM]:
        """The hybrid as one model, while it lasts: the one whose embedding it has, changed."""
        into, source = (pair.original, pair.tuned)[:: -1 if self.embedding else 1]
        own = self.blocks if self.embedding else frozenset(range(pair.num_blocks)) - self.blocks
        others = [block for block in range(pair.num_blocks) if block not in own]
        with exchanged(into, source, others, ends=self.ends != self.embedding) as hybrid:
            yield hybrid

    def head_of(self, pair: Pair) -> CausalLM:
        """The model whose head it has."""
        return pair.tuned if self.ends else pair.original


def can_route(pair: Pair) -> bool:
    """Whether the two differ in nothing but embedding, blocks and ends, and have one vocabulary."""
    if not pair.is_known_family or not compute_alike(pair.original, pair.tuned):
        return False
    one, two = (vocabulary_rows(model) for model in (pair.original, pair.tuned))
    return one == two and _outside(pair.original) == _outside(pair.tuned)


def _outside(model: CausalLM) -> set[int]:
    """Addresses of the parameters that no part holds; equal ones are shared by a pair."""
    parts = anatomy(model)
    modules = (parts.embedding, *parts.blocks.values(), parts.norm, parts.head)
    inside = {p.data_ptr() for module in modules for p in module.parameters()}
    return {p.data_ptr() for p in base_of(model).parameters()} - inside


@contextmanager
def routed(pair: Pair, hybrids: Sequence[HybridParts]) -> Iterator[CausalLM]:
    """The original, whose row b is the hybrid b, while it lasts; it must be given these rows only.

    Mutates the original and puts everything back. The pair must be one that can be routed.
    """
    one, two, base = anatomy(pair.original), anatomy(pair.tuned), base_of(pair.original)
    device = pair.original.device
    names = ["", *range(pair.num_blocks)]
    embedding = _rows([each.embedding for each in hybrids], device)
    ends = _rows([each.ends for each in hybrids], device)
    blocks = [_rows([i in each.blocks for each in hybrids], device) for i in names[1:]]
    parent = base.get_submodule(next(iter(one.blocks)).rpartition(".")[0])
    owner = base.get_submodule(one.norm_name.rpartition(".")[0])
    norm_name = one.norm_name.rpartition(".")[2]
    own = list(one.blocks.values())
    try:
        base.set_input_embeddings(RoutedPart((one.embedding, two.embedding), embedding))
        for place, other in enumerate(two.blocks.values()):
            parent[place] = RoutedPart((own[place], other), blocks[place], place)
        setattr(owner, norm_name, RoutedPart((one.norm, two.norm), ends))
        base.set_output_embeddings(RoutedPart((one.head, two.head), ends))
        yield pair.original
    finally:
        _put_back(base, one, parent, owner, norm_name)


def _put_back(base: Any, own: Anatomy, parent: Any, owner: Any, norm_name: str) -> None:
    base.set_input_embeddings(own.embedding)
    for place, block in enumerate(own.blocks.values()):
        parent[place] = block
    setattr(owner, norm_name, own.norm)
    base.set_output_embeddings(own.head)


def _rows(is_tuned: Sequence[bool], device: torch.device) -> tuple[Tensor, Tensor]:
    """Indices of the rows that are the original's, and of the tuned model's."""
    tuned_B = torch.tensor(is_tuned, device=device)
    return (~tuned_B).nonzero()[:, 0], tuned_B.nonzero()[:, 0]


class RoutedPart(nn.Module):
    """A part of both models: each row goes through its own, with a cache of its own."""

    def __init__(
        self,
        both: tuple[nn.Module, nn.Module],
        rows: tuple[Tensor, Tensor],
        layer: int | None = None,
    ) -> None:
        super().__init__()
        self.both, self.rows, self.layer = nn.ModuleList(both), rows, layer

    def __getattr__(self, name: str) -> Any:
        """What the model asks of a part, such as its kind of attention, is alike in both."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            both: Any = super().__getattr__("both")
            return getattr(both[0], name)

    def forward(self, first: Tensor, *args: Any, **kwargs: Any) -> Any:
        """`first` is split by rows, and of the other arguments what has a row for each."""
        count = len(first)
        assert count == sum(map(len, self.rows)), "other rows than the hybrids'"
        if not all(map(len, self.rows)):  # all rows are of one model
            place = int(not len(self.rows[0]))
            return self._run(place, first, args, kwargs)
        found: list[Any] = []
        for place, row in enumerate(self.rows):
            given = _of_rows((args, kwargs), row, count)
            found.append(self._run(place, first[row], *given))
        return _together(found, self.rows, count)

    def _run(self, place: int, first: Tensor, args: Any, kwargs: Any) -> Any:
        cache = next((x for x in (*args, *kwargs.values()) if isinstance(x, Cache)), None)
        if cache is not None and self.layer is not None:
            if not isinstance(cache.layers[self.layer], RoutedLayer):
                cache.layers[self.layer] = RoutedLayer(cache.layers[self.layer])
            cache.layers[self.layer].place = place
        return self.both[place](first, *args, **kwargs)


class RoutedLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """A layer of a cache for the rows of each model; all rows have one length."""

    def __init__(self, empty: Any) -> None:
        super().__init__()
        self.layers, self.place = (empty, deepcopy(empty)), 0
        self.is_sliding = getattr(empty, "is_sliding", False)

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Add to the rows of the model that runs."""
        return self.layers[self.place].update(*args, **kwargs)

    @property
    def _filled(self) -> Any:
        """A layer that holds rows, where one does: lengths and masks are alike in both."""
        return next((each for each in self.layers if each.get_seq_length()), self.layers[0])

    def get_seq_length(self) -> int:
        """Positions that are cached."""
        return int(self._filled.get_seq_length())

    def get_mask_sizes(self, *args: Any, **kwargs: Any) -> Any:
        """Length and offset of the keys that a mask is about."""
        return self._filled.get_mask_sizes(*args, **kwargs)

    def get_max_length(self) -> Any:
        """The most positions that it holds."""
        return self._filled.get_max_length()

    def get_max_cache_shape(self) -> Any:
        """The same, by the name that it had in transformers 5.17."""
        return self._filled.get_max_cache_shape()

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the layers of the two models do so when rows come."""


def _of_rows(given: Any, row: Tensor, count: int) -> Any:
    """The arguments of some rows; what is the same for all rows stays."""
    if isinstance(given, Tensor):
        return given[row] if given.ndim > 1 and len(given) == count else given
    if isinstance(given, tuple):
        return tuple(_of_rows(each, row, count) for each in given)
    if isinstance(given, dict):
        return {name: _of_rows(each, row, count) for name, each in given.items()}
    return given


def _together(found: Sequence[Any], rows: tuple[Tensor, Tensor], count: int) -> Any:
    """The rows of both models in their order; of a tuple the first, which are hidden states."""
    outputs = [each[0] if isinstance(each, tuple) else each for each in found]
    whole = outputs[0].new_empty((count, *outputs[0].shape[1:]))
    for row, output in zip(rows, outputs, strict=True):
        whole[row] = output
    return (whole, *found[0][1:]) if isinstance(found[0], tuple) else whole
