"""Batched, cached decoding on float32 logits; how a token is chosen stands in `choose.py`.

Shape letters: B rows of a batch, V vocabulary. Our own loop, so that nothing in a checkpoint's
generation config (a repetition penalty, a temperature) changes the decoder unseen, and so that
ties are settled and counted. Knows token ids only, no text.
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


class _Stepper:
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
        extra: dict[str, Any] = {}
        if self.ragged:  # equal lengths need neither, and take the faster causal kernel
            extra["attention_mask"] = self.mask_BT.long()
            if "position_ids" in self.arguments:
                extra["position_ids"] = self.position_BT
        if "logits_to_keep" in self.arguments:
            extra["logits_to_keep"] = 1
        output = self.model(
            input_ids=self.next_BT, past_key_values=self.cache, use_cache=True, **extra
        )
        logits_BV: Tensor = output.logits[:, -1].float()
        return logits_BV

    def append(self, token_B: Tensor) -> None:
        """Take the chosen tokens as the next input."""
        self.next_BT = token_B[:, None]
        self.mask_BT = torch.cat([self.mask_BT, torch.ones_like(self.mask_BT[:, :1])], dim=1)
        self.position_BT = self.position_BT[:, -1:] + 1


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
    stepper = _Stepper(model, contexts)
    end_E = torch.tensor(sorted(ends), device=model.device)
    open_B = torch.ones(len(contexts), dtype=torch.bool, device=model.device)
    length_B = torch.zeros(len(contexts), dtype=torch.long, device=model.device)
    ties_B = torch.zeros_like(length_B)
    columns = []
    for step in range(max_new_tokens):
        logits_BV = stepper.logits()
        logits_BV[:, list(banned)] = -torch.inf
        token_B, tied_B = choose(logits_BV, rows, step)
        columns.append(token_B)
        length_B += open_B
        ties_B += tied_B & open_B
        open_B &= ~torch.isin(token_B, end_E)
        if not open_B.any():
            break
        stepper.append(token_B)
    written = torch.stack(columns, dim=1).tolist()
    return [
        Decoded(ids[:length], ties)
        for ids, length, ties in zip(written, length_B.tolist(), ties_B.tolist(), strict=True)
    ]


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
