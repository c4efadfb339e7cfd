"""Feed texts to a model, a token a step, in the way that was proved on this model.

Shape letters: B rows of a batch, T tokens of a row so far, M rows in another order.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hyperfitting.generate.cache import only_roomy, roomy_cache, settle
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.few_rows import few_rows
from hyperfitting.models.interface import accepted_arguments, rope_switch
from hyperfitting.models.types import CausalLM

# What models call a cache that they return and take back.
OWN_CACHES = ("past_key_values", "cache_params", "state", "mems", "past_buckets_states")


@dataclass(frozen=True)
class Feed:
    """How a model is fed."""

    cache: Literal["roomy", "own", "none"]  # ours; what the model itself makes; whole rows anew
    positions: bool  # position ids are given
    batches: bool  # rows of one length run together
    pads: bool  # rows of unequal length too, filled up on the left


class Rows:
    """Rows that run together: their tokens so far, and what the model keeps of them."""

    def __init__(self, model: CausalLM, contexts: Sequence[Sequence[int]], feed: Feed) -> None:
        width, device = max(map(len, contexts)), model.device
        padding_B = torch.tensor([width - len(c) for c in contexts], device=device)
        rows = [[0] * (width - len(context)) + list(context) for context in contexts]
        self.model, self.feed = model, feed
        self.arguments = accepted_arguments(model)
        self.cache_name = "past_key_values"
        self.cache, self.num_cached = self._empty_cache(), 0
        self.switch = rope_switch(base_of(model).config)
        self.ragged = bool(padding_B.any())
        self.ids_BT = torch.tensor(rows, device=device)
        self.mask_BT = torch.arange(width, device=device) >= padding_B[:, None]
        self.position_BT = (torch.arange(width, device=device) - padding_B[:, None]).clamp(0)

    def logits(self) -> Tensor:
        """Float32 logits for the next token, [B, V]."""
        logits_BV: Tensor = self.output().logits[:, -1].float()
        return logits_BV

    def output(self, **options: Any) -> Any:
        """What the model says about the tokens that are new to it; logits of the last only."""
        if self.num_cached and self.switches(self.num_cached):
            self.cache, self.num_cached = self._empty_cache(), 0  # its keys have the short rope
        new = slice(self.num_cached, None)
        given: dict[str, Any] = {"input_ids": self.ids_BT[:, new], **options}
        if self.ragged:  # equal lengths need no mask, and take the faster causal kernel
            given["attention_mask"] = self.mask_BT.long()
        if self.feed.positions:
            given["position_ids"] = self.position_BT[:, new]
        if "use_cache" in self.arguments:
            given["use_cache"] = self.feed.cache != "none"
        if "logits_to_keep" in self.arguments:
            given["logits_to_keep"] = 1
        if self.cache is not None:
            given[self.cache_name] = self.cache
        with few_rows(self.ids_BT.device):
            output = self.model(**given)
        if self.feed.cache != "none":
            self.num_cached = self.ids_BT.shape[1]
        if self.feed.cache == "own":
            self._keep(output)
        return output

    def switches(self, earlier: int) -> bool:
        """Whether the rows have passed the model's switch of ropes since they had `earlier` tokens.

        Rows of unequal length pass it one by one, so they must not come there together.
        """
        return self.switch is not None and earlier <= self.switch < self.ids_BT.shape[1]

    def texts(self) -> list[list[int]]:
        """The tokens of each row so far, without padding."""
        rows = zip(self.ids_BT, self.mask_BT, strict=True)
        return [ids_T[mask_T].tolist() for ids_T, mask_T in rows]

    def _empty_cache(self) -> Any:
        return roomy_cache(base_of(self.model).config) if self.feed.cache == "roomy" else None

    def _keep(self, output: Any) -> None:
        """Take the model's own cache out of what it returned."""
        for name in OWN_CACHES:
            kept = getattr(output, name, None)
            if kept is not None and name in self.arguments:
                self.cache, self.cache_name = kept, name
                return
        raise LookupError("it returns no cache that it takes back")

    def append(self, token_B: Tensor) -> None:
        """Take the chosen tokens as the next input."""
        self.ids_BT = torch.cat([self.ids_BT, token_B[:, None]], dim=1)
        self.mask_BT = torch.cat([self.mask_BT, torch.ones_like(self.mask_BT[:, :1])], dim=1)
        self.position_BT = torch.cat([self.position_BT, self.position_BT[:, -1:] + 1], dim=1)

    def output_of_first(self, token_M: Tensor, **options: Any) -> Any:
        """What the model says about one more token in the first M rows.

        The others are behind until `settle`, which must take from the first M only.
        """
        first = slice(len(token_M))
        self.ids_BT = self.ids_BT[first]
        self.mask_BT, self.position_BT = self.mask_BT[first], self.position_BT[first]
        self.append(token_M)
        return self.output(**options)

    @property
    def runs_first(self) -> bool:
        """Whether `output_of_first` may leave rows out."""
        if self.feed.cache == "none":
            return True
        is_kept = self.ids_BT.shape[1] != self.switch  # else the cache is started anew
        return is_kept and self.feed.cache == "roomy" and only_roomy(self.cache)

    def take(self, row_M: Tensor) -> None:
        """Go on from these rows; the same row may be taken several times."""
        if self.cache is not None:
            self.cache.reorder_cache(row_M)
        self._take_tokens(row_M)

    def settle(self, row_M: Tensor) -> None:
        """Go on from rows that agree with those they replace but for the last token."""
        if self.cache is not None:
            settle(self.cache, row_M)
        self._take_tokens(row_M)

    def _take_tokens(self, row_M: Tensor) -> None:
        self.ids_BT = self.ids_BT[row_M]
        self.mask_BT, self.position_BT = self.mask_BT[row_M], self.position_BT[row_M]


def together(
    contexts: Sequence[Sequence[int]], feed: Feed, longest: int | None = None
) -> list[list[int]]:
    """Which contexts may run together: their places, in groups.

    Those of more than `longest` tokens run with contexts of their length only.
    """
    if not feed.batches:
        return [[place] for place in range(len(contexts))]
    groups: dict[int | None, list[int]] = defaultdict(list)
    for place, context in enumerate(contexts):
        may_pad = feed.pads and (longest is None or len(context) <= longest)
        groups[None if may_pad else len(context)].append(place)
    return list(groups.values())
