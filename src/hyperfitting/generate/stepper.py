"""Feed a batch of contexts, and then one token a step.

Shape letters: B rows of a batch, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hyperfitting.generate.feed import feed_of
from hyperfitting.generate.step import Feed, Rows, together
from hyperfitting.models.types import CausalLM


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

    def take(self, row_B: Tensor) -> None:
        """Go on from these rows of the one group there is; a row may be taken several times."""
        assert len(self.rows) == 1, "rows that do not run together"
        self.rows[0].take(row_B)

    def append(self, token_B: Tensor) -> None:
        """Take the chosen tokens as the next input."""
        for group, rows in zip(self.groups, self.rows, strict=True):
            rows.append(token_B if len(self.rows) == 1 else token_B[group])
