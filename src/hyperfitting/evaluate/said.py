"""What both models say at every place of the first texts, kept while they are scored.

Shape letters: K tokens of a continuation, V vocabulary, H tokens that are kept of a place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import Tensor

from hyperfitting.compare.scores import PairScores, without
from hyperfitting.measure.ranks import token_ranks
from hyperfitting.models.pair import PairedLogits
from hyperfitting.records.arrays import Counts, Floats

TRACED = 12  # contexts, the first ones
KEPT = 5  # tokens of each model at a place


class Said(NamedTuple):
    """What two models say along one text: of its tokens, and what they would rather have said."""

    rank_K: Counts  # of the text's tokens in the original
    original_K: Floats  # their probabilities
    tuned_K: Floats
    original_top_KH: Counts  # ids
    original_top_p_KH: Floats
    tuned_top_KH: Counts
    tuned_top_p_KH: Floats


@dataclass
class Tracer:
    """Sees the logits of every row, in any order, and keeps what they say of the first `TRACED`."""

    banned: Sequence[int] = ()  # tokens that decoding never chooses
    by_row: dict[int, Said] = field(default_factory=dict)

    @property
    def rows(self) -> list[Said]:
        """What was kept, in the order of the texts: rows of one length come together."""
        return [said for _, said in sorted(self.by_row.items(), key=lambda each: each[0])]

    def __call__(self, found: PairedLogits, scores: PairScores) -> None:
        """Take note of one row."""
        if found.row >= TRACED:
            return
        row, one_KV, two_KV, target_K = found
        known = min(one_KV.shape[1], two_KV.shape[1])
        allowed_KV = without(one_KV[:, :known], self.banned)
        nll_K = scores.original.nll_NK[row], scores.tuned.nll_NK[row]
        tops = [
            _top(logits_KV[:, :known], target_K, nll, self.banned)
            for logits_KV, nll in zip((one_KV, two_KV), nll_K, strict=True)
        ]
        rank_K = token_ranks(allowed_KV, target_K).cpu().numpy()
        original_K, tuned_K = (np.exp(-nll) for nll in nll_K)
        self.by_row[row] = Said(rank_K, original_K, tuned_K, *tops[0], *tops[1])


def _top(
    logits_KV: Tensor, target_K: Tensor, nll_K: Floats, banned: Sequence[int]
) -> tuple[Counts, Floats]:
    """The largest logits of each place: ids, and probabilities by way of the target's."""
    target_KV1 = logits_KV.gather(-1, target_K[:, None])
    top = without(logits_KV, banned).topk(min(KEPT, logits_KV.shape[1]), dim=-1)
    above_KH = (top.values - target_KV1).double().cpu().numpy()
    probability_KH = np.exp(above_KH - nll_K[:, None])
    return top.indices.cpu().numpy(), probability_KH
