"""The texts of a batch while they are written, and what is kept of them.

Shape letters: B rows of a batch, T tokens of a row, V vocabulary, E ends.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hyperfitting.errors import InputError

# Which texts, of their generated tokens so far [B, T], end with the last one, [B].
Stop = Callable[[Tensor], Tensor]


class Decoded(NamedTuple):
    """Tokens one context was continued with; an end token, where one came, is the last."""

    ids: list[int]
    num_ties: int  # steps at which several tokens shared the largest logit


class Written:
    """The texts of a batch as they grow: tokens, ties, and which of them have ended."""

    def __init__(
        self,
        contexts: Sequence[Sequence[int]],
        max_new_tokens: int,
        *,
        vocabulary: int,
        ends: Collection[int],
        device: torch.device,
    ) -> None:
        self.width, self.vocabulary = max(map(len, contexts)), vocabulary
        rows = [[vocabulary] * (self.width - len(row)) + list(row) for row in contexts]
        shape = (len(rows), self.width + max_new_tokens)
        self.ids_BT = torch.full(shape, vocabulary, device=device)
        self.ids_BT[:, : self.width] = torch.tensor(rows, device=device)
        self.step = 0
        self.end_E = torch.tensor(sorted(ends), dtype=torch.long, device=device)
        self.open_B = torch.ones(len(rows), dtype=torch.bool, device=device)
        self.length_B = torch.zeros(len(rows), dtype=torch.long, device=device)
        self.ties_B = torch.zeros_like(self.length_B)

    def seen(self) -> Tensor:
        """Contexts and continuations so far, [B, T]; padding on the left is `vocabulary`."""
        return self.ids_BT[:, : self.width + self.step]

    def append(self, token_B: Tensor, tied_B: Tensor, stop: Stop | None = None) -> bool:
        """Take the chosen tokens; whether any text goes on."""
        self.ids_BT[:, self.width + self.step] = token_B
        self.step += 1
        self.length_B += self.open_B
        self.ties_B += tied_B & self.open_B
        if not len(self.end_E) and stop is None:
            return True  # spares a device from waiting for the answer
        self.open_B &= ~torch.isin(token_B, self.end_E)
        if stop is not None:
            self.open_B &= ~stop(self.ids_BT[:, self.width : self.width + self.step])
        return bool(self.open_B.any())

    def decoded(self) -> list[Decoded]:
        """The continuations, each cut after its end.

        Raises:
            InputError: a greedy choice had no largest logit, as one was NaN.
        """
        rows = self.ids_BT[:, self.width :].tolist()
        found = [
            Decoded(ids[:length], ties)
            for ids, length, ties in zip(
                rows, self.length_B.tolist(), self.ties_B.tolist(), strict=True
            )
        ]
        broken = [text.ids.index(self.vocabulary) for text in found if self.vocabulary in text.ids]
        if broken:
            raise InputError(
                f"{len(broken)} of {len(found)} texts cannot be written: what the model says is no "
                f"number (NaN) after {min(broken)} tokens",
                needed="a model whose numbers stay within its type",
                hint="in float32 where it ran in 16 bits",
            )
        return found
