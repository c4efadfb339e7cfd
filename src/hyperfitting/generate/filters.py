"""Decoders that change the logits of each step and then choose from what is left.

Shape letters: B rows of a batch, T tokens of a row so far, V vocabulary. transformers' own
processors wherever it has one, in transformers' own order: penalties, then temperature, then
what cuts the tail, each on what the one before it left. `min_k` alone stands before the
temperature, and XTC and adaptive-p after all cuts.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.generation.logits_process import LogitsProcessor

from hyperfitting.generate.choose import Chooser, Sample, greedy
from hyperfitting.generate.decoder import load
from hyperfitting.generate.decoders import DECODERS
from hyperfitting.generate.specs import DecoderSpec
from hyperfitting.generate.watching import Watching


class TopNSigma(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Keeps logits of at least max - n standard deviations, over the tokens not banned.

    Any temperature keeps the same tokens. The deviation is that of a whole population, as in the
    formula and in llama.cpp; public Python versions divide by V - 1. Source: Tang et al.,
    arXiv 2411.07641.
    """

    def __init__(self, n: float) -> None:
        self.n = n

    def __call__(self, input_ids: Tensor | None, scores: Tensor) -> Tensor:
        """Filtered logits, [B, V]; -inf where a token was dropped."""
        allowed_BV = torch.isfinite(scores)
        count_B1 = allowed_BV.sum(dim=-1, keepdim=True)
        kept_BV = torch.where(allowed_BV, scores, 0)
        mean_B1 = kept_BV.sum(dim=-1, keepdim=True) / count_B1
        apart_BV = torch.where(allowed_BV, scores - mean_B1, 0)
        sigma_B1 = (apart_BV.square().sum(dim=-1, keepdim=True) / count_B1).sqrt()
        least_B1 = scores.amax(dim=-1, keepdim=True) - self.n * sigma_B1
        return scores.masked_fill(scores < least_B1, -torch.inf)


class _Padded(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Gives a processor that looks at tokens a logit for the padding id V, and takes it away."""

    def __init__(self, inner: LogitsProcessor) -> None:
        self.inner = inner

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not bool((input_ids[:, 0] == scores.shape[-1]).any()):  # no row is padded
            same_BV: Tensor = self.inner(input_ids, scores)
            return same_BV
        wide_BW = pad(scores, (0, 1), value=-torch.inf)
        processed_BV: Tensor = self.inner(input_ids, wide_BW)[:, :-1]
        return processed_BV


@dataclass(frozen=True)
class Filtered:
    """Processes the logits, then chooses."""

    processors: Sequence[LogitsProcessor]
    choose: Chooser

    def filtered(self, logits_BV: Tensor, seen_BT: Tensor) -> Tensor:
        """What the processors leave of the logits, [B, V]."""
        for process in self.processors:
            logits_BV = process(seen_BT, logits_BV)
        return logits_BV

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Chooser`; a tie is one between processed logits."""
        for process in self.processors:
            if isinstance(process, Watching):
                process.watch(logits_BV, rows, step)
        return self.choose(self.filtered(logits_BV, seen_BT), rows, step, seen_BT)


def filtered(
    spec: DecoderSpec,
    seeds_N: Sequence[Sequence[int]] | None,
    *,
    texts_V: Sequence[str] | None = None,
    ends: Collection[int] = (),
) -> Filtered:
    """The chooser for the filters and penalties of a spec.

    Greedy where all are penalties; otherwise drawn, with the seed of each of the N rows.
    `texts_V` is the text of each token, where a part needs it.

    Raises:
        ValueError: drawn, but no seeds were given; or not the texts that a part needs.
    """
    given = {"seeds_N": seeds_N, "texts_V": texts_V, "ends": ends}

    def make(name: str) -> LogitsProcessor:
        part = DECODERS[name]
        values = [spec.parameters[each.name] for each in part.parameters]
        needs: dict[str, Any] = {key: given[key] for key in part.needs}
        return load(part.work)(*values, **needs)

    penalties = [make(name) for name in spec.parts if DECODERS[name].kind == "penalty"]
    padded = [each if isinstance(each, Watching) else _Padded(each) for each in penalties]
    cuts = [name for name in spec.parts if DECODERS[name].kind == "filter"]
    if not cuts:
        return Filtered(padded, greedy)
    cuts.sort(key=lambda name: DECODERS[name].place)
    return Filtered([*padded, *map(make, cuts)], sampler(seeds_N))


def sampler(seeds_N: Sequence[Sequence[int]] | None, temperature: float = 1.0) -> Sample:
    """A draw from softmax(logits / temperature) with the seed of each row.

    Raises:
        ValueError: no seeds.
    """
    if seeds_N is None:
        raise ValueError("a decoder that draws needs a seed for every context")
    return Sample([temperature] * len(seeds_N), seeds_N)
