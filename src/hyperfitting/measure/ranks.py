"""How two models order the same tokens.

Shape letters: N contexts, K positions, V vocabulary.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class RankShares(NamedTuple):
    """Shares of tokens whose rank lies in each bin; they sum to 1 (paper, section 2.2)."""

    rank_1: float
    rank_2_10: float
    rank_gt_10: float


def token_ranks(logits_KV: Tensor, token_K: Tensor) -> Tensor:
    """Rank of each token among the logits of its position, [K], in 1..V.

    One more than the number of logits strictly greater (definitions, section 3.2), so tokens
    that share a logit share a rank. No sort is needed.
    """
    own_K1 = logits_KV.gather(-1, token_K[..., None])
    rank_K: Tensor = (logits_KV > own_K1).sum(dim=-1) + 1
    return rank_K


def rank_shares(ranks: NDArray[np.int64]) -> RankShares:
    """Share of ranks that are 1, from 2 to 10, and above 10.

    Raises:
        ValueError: no ranks.
    """
    if ranks.size == 0:
        raise ValueError("rank shares need at least one rank")
    first, beyond = float((ranks == 1).mean()), float((ranks > 10).mean())
    return RankShares(first, float(((ranks > 1) & (ranks <= 10)).mean()), beyond)


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
