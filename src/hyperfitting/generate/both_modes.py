"""Greedy texts of a fixed length and texts that may end themselves, from one decoding.

Where a text would not end, both modes choose the same token; so the one that may end is the other
one up to its end. Only what lies behind the fixed length is decoded for it alone.

Shape letters: B rows of a batch, T tokens of a row, V vocabulary.
"""

import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hyperfitting.generate.choose import greedy
from hyperfitting.generate.decode import Decoded, decode
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage


class BothModes(NamedTuple):
    """The continuations of every context in both modes."""

    fixed: list[Decoded]
    natural: list[Decoded]
    seconds: float  # that those of the fixed length took


def decode_both(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    *,
    length: int,
    natural: int,
    banned: Sequence[int],
    ends: Collection[int],
    batch_size: int,
    stage: Stage | None = None,
) -> BothModes:
    """What `decode` writes without an end (`length` tokens), and with one (`natural` at most).

    `banned` tokens are never chosen, `ends` not at the fixed length.
    """
    chooser = _Chooser(length, natural, sorted(ends))
    decode(
        model, contexts, chooser,
        max_new_tokens=max(length, natural), banned=banned, batch_size=batch_size, stage=stage,
        stop=chooser.done,
    )  # fmt: skip
    return BothModes(chooser.fixed, chooser.natural, chooser.seconds)


class _Chooser:
    """Chooses as the fixed length does, then as natural mode does, and notes both texts."""

    def __init__(self, length: int, natural: int, ends: list[int]) -> None:
        self.length, self.most_natural, self.ends = length, natural, ends
        self.fixed: list[Decoded] = []
        self.natural: list[Decoded] = []
        self.seconds = 0.0
        self.mark = time.perf_counter()

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `choose.Chooser`."""
        if step == 0:
            self.started = self.mark
            self.first, self.open = rows.start, [True] * len(rows)
            self.fixed += [Decoded([], 0) for _ in rows]
            self.natural += [Decoded([], 0) for _ in rows]
        token_B, tied_B = greedy(logits_BV, rows, step)
        tokens, ties = token_B.tolist(), tied_B.tolist()
        if step < self.most_natural:
            for row, (token, tie) in enumerate(zip(tokens, ties, strict=True)):
                if self.open[row]:
                    self.natural[self.first + row] = _and(
                        self.natural[self.first + row], token, tie
                    )
                    self.open[row] = token not in self.ends
        if step < self.length:
            if any(ties) or any(token in self.ends for token in tokens):
                logits_BV[:, self.ends] = -torch.inf
                token_B, tied_B = greedy(logits_BV, rows, step)
                tokens, ties = token_B.tolist(), tied_B.tolist()
            for row, (token, tie) in enumerate(zip(tokens, ties, strict=True)):
                self.fixed[self.first + row] = _and(self.fixed[self.first + row], token, tie)
        self.mark = time.perf_counter()
        if step == self.length - 1:
            self.seconds += self.mark - self.started
        self.step = step
        return token_B, tied_B

    def done(self, ids_BT: Tensor) -> Tensor:
        """Whether nothing is left to write, for all rows alike."""
        is_done = self.step >= self.length - 1 and (
            self.step >= self.most_natural - 1 or not any(self.open)
        )
        return torch.full((len(ids_BT),), is_done, device=ids_BT.device)


def _and(text: Decoded, token: int, is_tied: bool) -> Decoded:
    text.ids.append(token)
    return Decoded(text.ids, text.num_ties + is_tied)
