"""How two models order the same tokens.

Shape letters: N contexts, K positions, V vocabulary.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# First rank of each bin of the shares: 1, 2 to 10, 11 to 200, above 200.
BIN_STARTS = np.array([1, 2, 11, 201])


class RankShares(NamedTuple):
    """Shares of tokens whose rank lies in each bin; they sum to 1 (paper, section 2.2)."""

    rank_1: float
    rank_2_10: float
    rank_gt_10: float


def top_token(logits_KV: Tensor) -> Tensor:
    """Id of the largest logit of each position, [K], the smallest among equals.

    Any number of axes before the last; where a logit is NaN, its id.
    """
    if logits_KV.device.type == "cpu":  # numpy, which has no bfloat16, finds it ten times faster
        is_half = logits_KV.dtype.itemsize < torch.float32.itemsize
        values = (logits_KV.float() if is_half else logits_KV).detach().numpy()
        return torch.from_numpy(np.asarray(values.argmax(axis=-1)))
    return logits_KV.argmax(dim=-1)


def token_ranks(logits_KV: Tensor, token_K: Tensor) -> Tensor:
    """Rank of each token among the logits of its position, [K], in 1..V.

    One more than the number of logits strictly greater (definitions, section 3.2), so tokens
    that share a logit share a rank. No sort is needed.
    """
    own_K1 = logits_KV.gather(-1, token_K[..., None])
    return count_true(logits_KV > own_K1) + 1


def count_true(truths_KV: Tensor) -> Tensor:
    """How many of each position's truths hold, [K]; any number of axes before the last."""
    if truths_KV.device.type == "cpu":  # numpy counts a row of truths five times faster
        rows = truths_KV.flatten(end_dim=-2).numpy()
        count_K = torch.tensor([np.count_nonzero(row) for row in rows], dtype=torch.int64)
        return count_K.view(truths_KV.shape[:-1])
    return truths_KV.sum(dim=-1)


def rank_shares(ranks: NDArray[np.int64]) -> RankShares:
    """Share of ranks that are 1, from 2 to 10, and above 10.

    Raises:
        ValueError: no ranks.
    """
    if ranks.size == 0:
        raise ValueError("rank shares need at least one rank")
    first, beyond = float((ranks == 1).mean()), float((ranks > 10).mean())
    return RankShares(first, float(((ranks > 1) & (ranks <= 10)).mean()), beyond)


def rank_bin_shares(ranks: NDArray[np.int64]) -> Mapping[str, float]:
    """Share of ranks in each bin of definitions, section 3.2, each in [0, 1].

    Keys `rank_1`, `rank_2_10`, `rank_gt_10` (these sum to 1), and the two parts of the last,
    `rank_11_200` and `rank_gt_200` (paper's bins). `ranks` has any shape.

    Raises:
        ValueError: no ranks.
    """
    shares = rank_shares(ranks)._asdict()
    shares["rank_11_200"] = float(((ranks > 10) & (ranks <= 200)).mean())
    shares["rank_gt_200"] = float((ranks > 200).mean())
    return shares


def rank_histogram(
    ranks: NDArray[np.int64], *, largest: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges [B + 1] and counts [B] of ranks in bins of doubling width (definitions, 3.2).

    Bins hold the ranks 1, 2, 3-4, 5-8, 9-16, ...: bin k holds edges[k] .. edges[k + 1] - 1, so
    no whole number is split and every rank lies in one bin. The last bin is the one that holds
    `largest`, by default the largest rank; give the vocabulary size to compare histograms.

    Raises:
        ValueError: no ranks, a rank below 1, or a rank above `largest`.
    """
    if ranks.size == 0:
        raise ValueError("a rank histogram needs at least one rank")
    top = int(ranks.max()) if largest is None else largest
    if ranks.min() < 1 or ranks.max() > top:
        raise ValueError(f"ranks must lie in 1..{top}, got {ranks.min()}..{ranks.max()}")
    doublings = (top - 1).bit_length()
    edges = np.array([1] + [2**k + 1 for k in range(doublings + 1)], dtype=np.int64)
    bins = np.searchsorted(edges, ranks.ravel(), side="right") - 1
    return edges, np.bincount(bins, minlength=len(edges) - 1).astype(np.int64)


def shares_by_position(rank_NK: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of contexts in each rank bin at each position, [K, 4], rows sum to 1.

    Columns: rank 1, 2 to 10, 11 to 200, above 200 (definitions, section 3.2), for a table or a
    figure along the text.

    Raises:
        ValueError: no contexts, or ranks that are not [N, K].
    """
    if rank_NK.ndim != 2 or len(rank_NK) == 0:
        raise ValueError(f"shares_by_position needs ranks [N, K], N > 0; got {rank_NK.shape}")
    bin_NK = np.searchsorted(BIN_STARTS, rank_NK, side="right") - 1
    share_K4: NDArray[np.float64] = (bin_NK[..., None] == np.arange(4)).mean(axis=0)
    return share_K4


def top1_agreement(
    tuned_NK: NDArray[np.int64], original_NK: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share of positions at which both models choose the same token, [N], in [0, 1].

    Both must have seen the same prefixes (definitions, section 3.1). A description, without a
    good direction; a model agrees with itself in all positions.

    Raises:
        ValueError: different shapes, or no positions.
    """
    if tuned_NK.shape != original_NK.shape or tuned_NK.shape[-1] == 0:
        raise ValueError(
            "top1_agreement needs choices at the same positions: "
            f"got shapes {tuned_NK.shape} and {original_NK.shape}"
        )
    share: NDArray[np.float64] = (tuned_NK == original_NK).mean(axis=-1)
    return share
