"""Greedy texts of a fixed length and texts that may end themselves, from one decoding.

Where a text would not end, both modes choose the same token; so the one that may end is the other
one up to its end. Only what lies behind the fixed length is decoded for it alone.

Shape letters: B rows of a batch, T tokens of a row, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hyperfitting.generate.choose import greedy
from hyperfitting.generate.texts import Decoded
from hyperfitting.generate.ways import Continued, Way, write_ways
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage


class BothModes(NamedTuple):
    """The continuations of every context in both modes."""

    fixed: list[Decoded]
    natural: list[Decoded]
    seconds: float  # that those of the fixed length took


class GreedyInBothModes:
    """What `decode` writes without an end (`length` tokens), and with one (`natural` at most).

    `banned` tokens are never chosen, `ends` not at the fixed length. `way` writes both; `taken`
    tells them apart.
    """

    def __init__(
        self, *, length: int, natural: int, banned: Sequence[int], ends: Sequence[int]
    ) -> None:
        self.chooser = _Chooser(length, natural, sorted(ends))
        self.way = Way(
            choose=self.chooser,
            max_new_tokens=max(length, natural),
            banned=banned,
            stop=self.chooser.done,
        )

    def taken(self, found: Continued) -> BothModes:
        """Both modes, after `way` was written."""
        seconds = sum(found.seconds[: self.chooser.length])
        return BothModes(self.chooser.fixed, self.chooser.natural, seconds)


def write_in_both_modes(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    tokens: Tokens,
    *,
    length: int,
    natural: int,
    batch_size: int,
    stage: Stage,
) -> BothModes:
    """Greedy continuations of `length` tokens, and such that may end within `natural`."""
    both = GreedyInBothModes(
        length=length, natural=natural, banned=tokens.banned("natural"), ends=tokens.ends
    )
    (found,) = write_ways(model, contexts, [both.way], batch_size=batch_size, stage=stage)
    return both.taken(found)


class _Chooser:
    """Chooses as the fixed length does, then as natural mode does, and notes both texts."""

    def __init__(self, length: int, natural: int, ends: list[int]) -> None:
        self.length, self.most_natural, self.ends = length, natural, ends
        self.fixed: list[Decoded] = []
        self.natural: list[Decoded] = []

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `choose.Chooser`."""
        if step == 0:
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
