"""Batched, cached decoding on float32 logits; how a token is chosen stands in `choose.py`.

Shape letters: B rows of a batch, T tokens of a row, V vocabulary, E ends. Our own loop, so that
nothing in a checkpoint's generation config (a repetition penalty, a temperature) changes the
decoder unseen, and so that ties are settled and counted. Knows token ids only, no text.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from hyperfitting.generate.choose import Chooser, greedy
from hyperfitting.generate.feed import feed_of
from hyperfitting.generate.step import Feed, Rows, together
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage

# Which texts, of their generated tokens so far [B, T], end with the last one, [B].
Stop = Callable[[Tensor], Tensor]


class Decoded(NamedTuple):
    """Tokens one context was continued with; an end token, where one came, is the last."""

    ids: list[int]
    num_ties: int  # steps at which several tokens shared the largest logit


class Stepper:
    """Feeds a batch of contexts and then one token a step, in groups that may run together."""

    def __init__(
        self, model: CausalLM, contexts: Sequence[Sequence[int]], feed: Feed | None = None
    ) -> None:
        self.model, self.feed = model, feed or feed_of(model)
        self._start(contexts)

    def _start(self, contexts: Sequence[Sequence[int]]) -> None:
        self.groups = together(contexts, self.feed)
        self.rows = [
            Rows(self.model, [contexts[b] for b in group], self.feed) for group in self.groups
        ]
        order = [b for group in self.groups for b in group]
        self.place_B = torch.tensor(order, device=self.model.device).argsort()

    def logits(self) -> Tensor:
        """Float32 logits for the next token, [B, V]."""
        if self.rows[0].ragged and self.rows[0].switches(0):  # a ragged group is the only one
            self.feed = replace(self.feed, pads=False)  # each text switches its rope when it must
            self._start(self.rows[0].texts())
        if len(self.rows) == 1:
            return self.rows[0].logits()
        return torch.cat([rows.logits() for rows in self.rows])[self.place_B]

    def append(self, token_B: Tensor) -> None:
        """Take the chosen tokens as the next input."""
        for group, rows in zip(self.groups, self.rows, strict=True):
            rows.append(token_B if len(self.rows) == 1 else token_B[group])


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
        self.width = max(map(len, contexts))
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
        """The continuations, each cut after its end."""
        rows = self.ids_BT[:, self.width :].tolist()
        return [
            Decoded(ids[:length], ties)
            for ids, length, ties in zip(
                rows, self.length_B.tolist(), self.ties_B.tolist(), strict=True
            )
        ]


@torch.no_grad()
def _decode_batch(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    rows: range,
    choose: Chooser,
    max_new_tokens: int,
    banned: Sequence[int],
    ends: Collection[int],
    stop: Stop | None,
    feed: Feed | None,
) -> list[Decoded]:
    stepper = Stepper(model, contexts, feed)
    logits_BV = stepper.logits()
    written = Written(
        contexts, max_new_tokens,
        vocabulary=logits_BV.shape[-1], ends=ends, device=logits_BV.device,
    )  # fmt: skip
    banned_ids = list(banned)
    for step in range(max_new_tokens):
        if step:
            logits_BV = stepper.logits()
        logits_BV[:, banned_ids] = -torch.inf
        token_B, tied_B = choose(logits_BV, rows, step, written.seen())
        if not written.append(token_B, tied_B, stop):
            break
        stepper.append(token_B)
    return written.decoded()


def even_batches(count: int, size: int) -> list[range]:
    """As few batches of at most `size` as there can be, none more than one wider than another.

    A narrow rest would cost nearly as many seconds as a full batch.
    """
    number = -(-count // size)
    ends = [count * batch // max(1, number) for batch in range(number + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


def decode(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    choose: Chooser = greedy,
    *,
    max_new_tokens: int,
    banned: Sequence[int] = (),
    ends: Collection[int] = (),
    batch_size: int = 32,
    stage: Stage | None = None,
    stop: Stop | None = None,
    feed: Feed | None = None,
) -> list[Decoded]:
    """Continue every context, one token a step as `choose` says; greedily by default.

    `banned` tokens are never chosen. A text stops after its first token in `ends`; without
    `ends` every text gets exactly `max_new_tokens`; `stop` may end others. `feed` is how the model
    is fed, where that was proved before; by default it is proved now. Batches are about equally
    wide: float32 sums may differ in the last bit between widths (definitions, section 8.4).
    """
    decoded: list[Decoded] = []
    for rows in even_batches(len(contexts), batch_size):
        batch = contexts[rows.start : rows.stop]
        decoded += _decode_batch(
            model, batch, rows, choose, max_new_tokens, banned, ends, stop, feed
        )
        if stage:
            stage.update(len(decoded))
    return decoded
