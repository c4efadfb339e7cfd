"""Is the change one constant shift of the logits? Definitions, section 5.

Shape letters: P positions, V vocabulary. Pass only the rows of the vocabulary that the tokenizer
has, and logits after any soft cap.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

BLOCK_VALUES = 2**22


class StaticShift(NamedTuple):
    """The mean change of each token's logit and rank; what `ShiftStatistics.result` returns."""

    shift_V: Tensor
    improvement_V: Tensor
    positions: int
    rank_positions: int
    static_share: float | None


class Change(NamedTuple):
    """Sums over some positions: the centred change [V], float64, and its squared length."""

    sum_V: Tensor
    squares: float
    positions: int


class ShiftStatistics:
    """Sums over positions of the change between two models' logits; memory O(V).

    Each logit row is centred to mean 0 first. Ranks need two sorts of the vocabulary per
    position, so `rank_every` = m takes them at every m-th position given to this object only
    (default 1: all); shift and share always use all positions. Two objects over different
    positions can be added. Sums are float64 on the host.
    """

    def __init__(self, vocabulary: int, *, rank_every: int = 1) -> None:
        """Start with no positions.

        Raises:
            ValueError: `vocabulary` or `rank_every` below 1.
        """
        if vocabulary < 1 or rank_every < 1:
            raise ValueError(f"needs at least 1, got {vocabulary} and {rank_every}")
        self.vocabulary = vocabulary
        self.rank_every = rank_every
        self.positions = 0
        self.ranked = 0
        self.change_V = torch.zeros(vocabulary, dtype=torch.float64)
        self.improvement_V = torch.zeros(vocabulary, dtype=torch.float64)
        self.squares = 0.0

    def add(self, original_PV: Tensor, tuned_PV: Tensor) -> Change:
        """Add positions: both models' logits on the same prefixes, any floating type.

        Returns the sums of these positions alone.

        Raises:
            ValueError: shapes that differ or are not [P, vocabulary], or logits that are not
                finite, in which case nothing of this call is added.
        """
        if original_PV.shape != tuned_PV.shape or tuned_PV.shape[1:] != (self.vocabulary,):
            raise ValueError(
                f"logits of shape [P, {self.vocabulary}] needed, got {tuple(original_PV.shape)} "
                f"and {tuple(tuned_PV.shape)}"
            )
        if not (original_PV.isfinite().all() and tuned_PV.isfinite().all()):
            raise ValueError("logits must be finite")
        rows = max(1, BLOCK_VALUES // self.vocabulary)
        sum_V, squares = torch.zeros_like(self.change_V), 0.0
        for low in range(0, len(tuned_PV), rows):
            block = self._add_block(original_PV[low : low + rows], tuned_PV[low : low + rows])
            sum_V += block.sum_V
            squares += block.squares
        return Change(sum_V, squares, len(tuned_PV))

    def _add_block(self, original_PV: Tensor, tuned_PV: Tensor) -> Change:
        # The mean of a difference is the difference of the means: centring once is enough.
        kind = torch.float32 if tuned_PV.device.type == "mps" else torch.float64
        change_PV = tuned_PV.to(kind) - original_PV.to(kind)
        change_PV -= change_PV.mean(dim=-1, keepdim=True)
        block = Change(
            change_PV.sum(dim=0).cpu().double(), float(change_PV.square().sum()), len(change_PV)
        )
        self.change_V += block.sum_V
        self.squares += block.squares
        ranked = slice(-self.positions % self.rank_every, None, self.rank_every)
        gain_PV = ordinal_ranks(original_PV[ranked]) - ordinal_ranks(tuned_PV[ranked])
        self.improvement_V += gain_PV.sum(dim=0).cpu().double()
        self.ranked += len(gain_PV)
        self.positions += block.positions
        return block

    def __add__(self, other: Self) -> "ShiftStatistics":
        if (self.vocabulary, self.rank_every) != (other.vocabulary, other.rank_every):
            raise ValueError("only statistics of one vocabulary and rank step can be added")
        total = ShiftStatistics(self.vocabulary, rank_every=self.rank_every)
        total.positions = self.positions + other.positions
        total.ranked = self.ranked + other.ranked
        total.change_V = self.change_V + other.change_V
        total.improvement_V = self.improvement_V + other.improvement_V
        total.squares = self.squares + other.squares
        return total

    def result(self) -> StaticShift:
        """The means over positions so far (definitions, section 5).

        `shift_V` in logits, mean of tuned - original after centring; `improvement_V` in ranks,
        mean of original - tuned rank, in [1 - V, V - 1], above 0 = promoted; both [V], float64.
        `static_share` = 1 - sum_t |d_t - mean d|^2 / sum_t |d_t|^2, in [0, 1], 1 = the same change
        at every position; None if no logit changed. Changes that are unrelated between
        n positions give about 1 / n, not 0.

        Raises:
            ValueError: no positions were added.
        """
        if not self.positions:
            raise ValueError("a static shift needs at least one position")
        share = None
        if self.squares > 0:
            # Equal to the definition, because sum_t |d_t - m|^2 = sum_t |d_t|^2 - n |m|^2.
            squared_sum = float(self.change_V.square().sum())
            share = min(1.0, squared_sum / (self.positions * self.squares))
        return StaticShift(
            self.change_V / self.positions,
            self.improvement_V / self.ranked,
            self.positions,
            self.ranked,
            share,
        )


def ordinal_ranks(logits_PV: Tensor) -> Tensor:
    """Place of every token in the order of its position's logits, [P, V], 1 = largest.

    A permutation of 1..V: of tokens that share a logit, the smaller id comes first (unlike
    `measure.ranks.token_ranks`, where they share a rank).
    """
    order_PV = logits_PV.float().argsort(dim=-1, descending=True, stable=True)
    places_V = torch.arange(1, logits_PV.shape[-1] + 1, device=logits_PV.device)
    return torch.empty_like(order_PV).scatter_(-1, order_PV, places_V.expand_as(order_PV))


def promoted(
    result: StaticShift, *, count: int = 500, excluded_ids: Collection[int] = ()
) -> Tensor:
    """Ids of the `count` tokens with the largest mean rank improvement, best first, int64.

    Definitions, section 5, step 2 (500 in the paper). Ties go to the smaller id; excluded ids
    (special tokens) never appear. Fewer ids if the vocabulary has no more.

    Raises:
        ValueError: `count` below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    order = result.improvement_V.argsort(descending=True, stable=True)
    left_out = torch.tensor(sorted(excluded_ids), dtype=torch.int64)
    return order[~torch.isin(order, left_out)][:count]


def injection(shift_V: Tensor, ids: Tensor) -> Tensor:
    """The shift at `ids` and 0 elsewhere, [V], in logits: what alpha multiplies (section 5)."""
    delta_V = torch.zeros_like(shift_V)
    delta_V[ids] = shift_V[ids]
    return delta_V


def random_injection(
    delta_V: Tensor, ids: Tensor, candidates: Iterable[int], *, seed: int
) -> Tensor:
    """The shifts of `ids` on as many random tokens of `candidates` instead, [V], in logits.

    The control of definitions, section 5, step 4. The same values in random order on distinct
    tokens; the promoted `ids` themselves are never drawn. Equal seeds give equal draws.

    Raises:
        ValueError: fewer candidates than ids.
    """
    available = np.array(sorted(set(candidates) - set(ids.tolist())), dtype=np.int64)
    if len(available) < len(ids):
        raise ValueError(f"{len(ids)} other tokens needed, got {len(available)} candidates")
    chosen = np.random.default_rng(seed).choice(available, size=len(ids), replace=False)
    moved_V = torch.zeros_like(delta_V)
    moved_V[torch.from_numpy(chosen).to(delta_V.device)] = delta_V[ids]
    return moved_V


def fraction_explained_in_words(
    share: float | None, low: float | None = None, high: float | None = None
) -> str:
    """One sentence on the static share and its interval (definitions, section 5)."""
    if share is None:
        return "No logit changed, so there is no change to explain."
    percent = 100 * share
    amount = f"{percent:.0f} %"
    if 0.5 > percent > 0:
        amount = "less than 1 %"
    elif 99.5 <= percent < 100:
        amount = "more than 99 %"
    bounds = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return (
        f"One constant shift of the logits explains {amount} of their change "
        f"(static share {share:.3f}{bounds}); the rest differs from position to position."
    )
