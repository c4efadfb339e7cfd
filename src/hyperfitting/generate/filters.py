"""Decoders that change the logits of each step and then choose from what is left.

Shape letters: B rows of a batch, T tokens of a row so far, V vocabulary. transformers' own
processors wherever it has one, in transformers' own order: penalties, then temperature, then
what cuts the tail, each on what the one before it left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.generation.logits_process import LogitsProcessor

from hyperfitting.generate.choose import Chooser, Sample, greedy
from hyperfitting.generate.decoders import DECODERS, load


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
        return self.choose(self.filtered(logits_BV, seen_BT), rows, step, seen_BT)


def filtered(parameters: Mapping[str, float], seeds_N: Sequence[Sequence[int]] | None) -> Filtered:
    """The chooser for these processors, each with its one parameter.

    Greedy where all are penalties; otherwise drawn, with the seed of each of the N rows.

    Raises:
        ValueError: drawn, but no seeds were given.
    """
    parts = [
        (decoder, parameters[name]) for name, decoder in DECODERS.items() if name in parameters
    ]
    penalties = [_Padded(load(part.work)(value)) for part, value in parts if part.kind == "penalty"]
    cuts = sorted((each for each in parts if each[0].kind == "filter"), key=lambda e: e[0].place)
    if not cuts:
        return Filtered(penalties, greedy)
    drawn_from = [load(part.work)(value) for part, value in cuts]
    return Filtered([*penalties, *drawn_from], sampler(seeds_N))


def sampler(seeds_N: Sequence[Sequence[int]] | None, temperature: float = 1.0) -> Sample:
    """A draw from softmax(logits / temperature) with the seed of each row.

    Raises:
        ValueError: no seeds.
    """
    if seeds_N is None:
        raise ValueError("a decoder that draws needs a seed for every context")
    return Sample([temperature] * len(seeds_N), seeds_N)
