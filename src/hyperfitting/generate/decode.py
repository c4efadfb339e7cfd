"""Batched, cached decoding on float32 logits; how a token is chosen stands in `choose.py`.

Shape letters: B rows of a batch, T tokens of a row, V vocabulary, E ends. Our own loop, so that
nothing in a checkpoint's generation config (a repetition penalty, a temperature) changes the
decoder unseen, and so that ties are settled and counted. Knows token ids only, no text.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hyperfitting.generate.cache import roomy_cache
from hyperfitting.generate.choose import Chooser, greedy
from hyperfitting.models.forward import accepted_arguments
from hyperfitting.progress import Stage


class Decoded(NamedTuple):
    """Tokens one context was continued with; an end token, where one came, is the last."""

    ids: list[int]
    num_ties: int  # steps at which several tokens shared the largest logit


class Stepper:
    """Feeds a batch of contexts and then one token a step, keeping the attention cache."""

    def __init__(self, model: Any, contexts: Sequence[Sequence[int]]) -> None:
        width = max(map(len, contexts))
        padding_B = torch.tensor([width - len(c) for c in contexts], device=model.device)
        rows = [[0] * (width - len(context)) + list(context) for context in contexts]
        self.model = model
        self.next_BT = torch.tensor(rows, device=model.device)
        self.arguments = accepted_arguments(model)
        self.cache = roomy_cache(model.config)
        self.ragged = bool(padding_B.any())
        self.mask_BT = torch.arange(width, device=model.device) >= padding_B[:, None]
        self.position_BT = (torch.arange(width, device=model.device) - padding_B[:, None]).clamp(0)

    def logits(self) -> Tensor:
        """Float32 logits for the next token, [B, V]."""
        logits_BV: Tensor = self.output().logits[:, -1].float()
        return logits_BV

    def output(self, **options: Any) -> Any:
        """What the model says about the next input; logits of its last token only."""
        extra: dict[str, Any] = dict(options)
        if self.ragged:  # equal lengths need neither, and take the faster causal kernel
            extra["attention_mask"] = self.mask_BT.long()
            if "position_ids" in self.arguments:
                extra["position_ids"] = self.position_BT
        if "logits_to_keep" in self.arguments:
            extra["logits_to_keep"] = 1
        return self.model(
            input_ids=self.next_BT, past_key_values=self.cache, use_cache=True, **extra
        )

    def append(self, token_B: Tensor) -> None:
        """Take the chosen tokens as the next input."""
        self.next_BT = token_B[:, None]
        self.mask_BT = torch.cat([self.mask_BT, torch.ones_like(self.mask_BT[:, :1])], dim=1)
        self.position_BT = self.position_BT[:, -1:] + 1


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

    def append(self, token_B: Tensor, tied_B: Tensor) -> bool:
        """Take the chosen tokens; whether any text goes on."""
        self.ids_BT[:, self.width + self.step] = token_B
        self.step += 1
        self.length_B += self.open_B
        self.ties_B += tied_B & self.open_B
        if not len(self.end_E):
            return True  # spares a device from waiting for the answer
        self.open_B &= ~torch.isin(token_B, self.end_E)
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
    model: Any,
    contexts: Sequence[Sequence[int]],
    rows: range,
    choose: Chooser,
    max_new_tokens: int,
    banned: Sequence[int],
    ends: Collection[int],
) -> list[Decoded]:
    stepper = Stepper(model, contexts)
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
        if not written.append(token_B, tied_B):
            break
        stepper.append(token_B)
    return written.decoded()


def decode(
    model: Any,
    contexts: Sequence[Sequence[int]],
    choose: Chooser = greedy,
    *,
    max_new_tokens: int,
    banned: Sequence[int] = (),
    ends: Collection[int] = (),
    batch_size: int = 32,
    stage: Stage | None = None,
) -> list[Decoded]:
    """Continue every context, one token a step as `choose` says; greedily by default.

    `banned` tokens are never chosen. A text stops after its first token in `ends`; without
    `ends` every text gets exactly `max_new_tokens`. The last batch is as wide as it happens to
    be: float32 sums may differ in the last bit between widths (definitions, section 8.4).
    """
    decoded: list[Decoded] = []
    for start in range(0, len(contexts), batch_size):
        batch = contexts[start : start + batch_size]
        rows = range(start, start + len(batch))
        decoded += _decode_batch(model, batch, rows, choose, max_new_tokens, banned, ends)
        if stage:
            stage.update(len(decoded))
    return decoded
