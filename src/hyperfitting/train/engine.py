"""What one training step needs: the loss of a batch, from as few blocks as the method allows.

`TailEngine` runs the trained blocks on the hidden states that enter them; where those come from
(a cache, or the prefix recomputed) is its source's business. `WholeModelEngine` runs any model
through its own forward pass and its full logits.

Shape letters: B windows of a batch, N windows in all, T tokens, D hidden width.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.data.windows import Windows
from hyperfitting.models.anatomy import Anatomy
from hyperfitting.models.blocks import (
    BlockInputs,
    Tail,
    hidden_entering,
    record_inputs,
    release_prefix,
)
from hyperfitting.models.interface import logits_of
from hyperfitting.models.types import CausalLM
from hyperfitting.train.loss import IGNORED, Head, head_logits, summed_nll
from hyperfitting.train.prefix_cache import HiddenStore
from hyperfitting.train.tied import TiedGradient, tied_gradient


class Source:
    """Windows as tensors on the training device, with their hidden states where those are kept."""

    def __init__(
        self, windows: Windows, device: torch.device, store: HiddenStore | None = None
    ) -> None:
        width = int(windows.length_N.max())  # one width: every batch has one shape
        ids_NT = torch.from_numpy(windows.ids_NT[:, :width])
        label_NT = torch.from_numpy(windows.label_NT[:, :width])
        # The target of a position is the next token; the last position has none.
        target_NT = torch.full_like(ids_NT, IGNORED)
        target_NT[:, :-1] = torch.where(label_NT, ids_NT, IGNORED)[:, 1:]
        self.ids_NT = ids_NT.to(device)
        self.target_NT = target_NT.to(device)
        self.labels_N: NDArray[np.int64] = windows.label_NT[:, 1:].sum(axis=1)
        self.device = device
        self.store = store

    def __len__(self) -> int:
        return len(self.ids_NT)

    def fetch(self, rows_B: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the chosen windows."""
        index_B = torch.from_numpy(rows_B).to(self.device, non_blocking=True)
        inputs = self.ids_NT[index_B] if self.store is None else self.store.rows(rows_B)
        return inputs, self.target_NT[index_B]

    def batches(self, rows: Iterable[NDArray[np.int64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """`fetch` for each batch of rows, one batch ahead of whoever computes on them."""
        with ThreadPoolExecutor(1) as reader:
            ahead = None
            for rows_B in rows:
                following = reader.submit(self.fetch, rows_B)
                if ahead is not None:
                    yield ahead.result()
                ahead = following
            if ahead is not None:
                yield ahead.result()


class Engine(Protocol):
    """Computes the loss of a batch that a `Source` fetched; all in nats, summed over tokens."""

    def summed_nll(self, source: Source, inputs: Tensor, target_BT: Tensor) -> Tensor:
        """Over the labelled tokens of the batch; a scalar with gradients."""
        ...

    def window_nll(self, source: Source, inputs: Tensor, target_BT: Tensor) -> Tensor:
        """Over the labelled tokens of each window, [B]."""
        ...

    def logits(self, source: Source, inputs: Tensor) -> Iterator[Tensor]:
        """Float32 logits of each window of a batch in turn, [T, V]."""
        ...


class WholeModelEngine:
    """Any causal language model, through its own forward pass.

    No attention mask: padding stands on the right, where no real token looks.
    """

    def __init__(self, model: CausalLM, autocast: Callable[[], Any]) -> None:
        self.model, self.autocast = model, autocast

    def _token_nll(self, inputs: Tensor, target_BT: Tensor) -> Tensor:
        with self.autocast():
            logits_BTV = logits_of(self.model, inputs, inputs.shape[1])
        return torch.nn.functional.cross_entropy(
            logits_BTV.transpose(1, 2), target_BT, ignore_index=IGNORED, reduction="none"
        )

    def summed_nll(self, source: Source, inputs: Tensor, target_BT: Tensor) -> Tensor:
        """See `Engine`."""
        return self._token_nll(inputs, target_BT).sum()

    def window_nll(self, source: Source, inputs: Tensor, target_BT: Tensor) -> Tensor:
        """See `Engine`."""
        return self._token_nll(inputs, target_BT).sum(dim=1)

    def logits(self, source: Source, inputs: Tensor) -> Iterator[Tensor]:
        """See `Engine`."""
        for ids_T in inputs:
            with self.autocast():
                yield logits_of(self.model, ids_T[None], len(ids_T))[0]


@dataclass
class TailEngine:
    """The trained blocks, the final norm and the head of a model of a known family."""

    parts: Anatomy
    tail: Tail
    autocast: Callable[[], Any]
    compiled: Callable[..., Tensor] | None = None
    prefix_trains: bool = False  # full_sft: gradients reach the embeddings
    released: bool = False
    known: dict[tuple[int, ...], list[BlockInputs]] = field(default_factory=dict)

    @property
    def head(self) -> Head:
        """Output matrix and softcap."""
        return Head(self.parts.head.weight, self.parts.softcap)

    def learn_shape(self, source: Source, batch_size: int) -> None:
        """Record what the blocks need for batches of this size, while the prefix is there."""
        rows_B = torch.from_numpy(np.resize(np.arange(len(source)), batch_size))
        ids_BT = source.ids_NT[rows_B]
        if tuple(ids_BT.shape) not in self.known:
            with self.autocast():
                inputs = record_inputs(self.parts, ids_BT)
            self.known[tuple(ids_BT.shape)] = inputs[self.tail.cut :]

    def release(self) -> None:
        """Mutates the model: prefix and embeddings leave the accelerator."""
        if self.parts.head.weight.device.type != "cpu":
            release_prefix(self.parts, self.tail.cut)
            self.released = True

    def normed(self, source: Source, inputs: Tensor, tied: TiedGradient | None = None) -> Tensor:
        """Inputs of a source to normed hidden states, [B, T, D]."""
        blocks = self.known[tuple(inputs.shape[:2])]
        if source.store is None:
            trains = torch.set_grad_enabled(self.prefix_trains and torch.is_grad_enabled())
            with trains, tied.lookups() if tied else nullcontext():
                inputs = hidden_entering(self.parts, inputs, self.tail.cut)
        if self.compiled is not None and torch.is_grad_enabled():
            return self.compiled(inputs, blocks)
        return self.tail(inputs, blocks)

    def summed_nll(self, source: Source, inputs: Tensor, target_BT: Tensor) -> Tensor:
        """See `Engine`."""
        tied = tied_gradient(self.parts.embedding, self.parts.head)
        with self.autocast():
            normed_BTD = self.normed(source, inputs, tied)
            head = self.head._replace(tied=tied)
            return summed_nll(normed_BTD.flatten(0, 1), head, target_BT.flatten())

    def window_nll(self, source: Source, inputs: Tensor, target_BT: Tensor) -> Tensor:
        """See `Engine`."""
        with self.autocast():
            normed_BTD = self.normed(source, inputs)
            rows = zip(normed_BTD, target_BT, strict=True)
            return torch.stack([summed_nll(row_TD, self.head, row_T) for row_TD, row_T in rows])

    def logits(self, source: Source, inputs: Tensor) -> Iterator[Tensor]:
        """See `Engine`."""
        with self.autocast():
            for normed_TD in self.normed(source, inputs):
                yield head_logits(normed_TD, self.head)


def in_batches(count: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Rows 0..count-1 in batches of one size; the last is filled up with its own rows."""
    starts = range(0, count, batch_size)
    return [np.resize(np.arange(s, min(s + batch_size, count)), batch_size) for s in starts]


@torch.no_grad()
def engine_window_losses(engine: Engine, source: Source, batch_size: int) -> NDArray[np.float64]:
    """Mean negative log-likelihood of each window's labelled tokens, [N], in nats."""
    rows = in_batches(len(source), batch_size)
    summed = [
        engine.window_nll(source, inputs, target_BT).double().cpu()
        for inputs, target_BT in source.batches(rows)
    ]
    mean_N: NDArray[np.float64] = torch.cat(summed).numpy()[: len(source)] / source.labels_N
    return mean_N
