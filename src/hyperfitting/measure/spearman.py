"""Spearman rank correlation of two models' logits at each position.

On the CPU by `spearman_cpu.py`, elsewhere with torch's sort on the tensors' own device, which is
also an independent check of the other. Shape letters: P positions, C positions of one chunk, V
vocabulary, T candidates (2 x `count`).
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.measure.spearman_cpu import (
    LARGEST_VOCABULARY,
    best_tokens,
    whole_vocabulary,
)

# Elements of temporary memory for one chunk of rows in `spearman_by_argsort`.
CHUNK = 2**24


class Correlations(NamedTuple):
    """Both correlations at each position, [P] each, in [-1, 1]; NaN is undefined."""

    spearman: NDArray[np.float64]
    spearman_top: NDArray[np.float64]


def correlations(a_PV: Tensor, b_PV: Tensor, *, count: int = 100) -> Correlations:
    """Spearman correlations of the logits of two models at each position, in one pass.

    Definitions, section 3.4; in float32, average ranks for ties. `spearman` is over the whole
    vocabulary. `spearman_top` is over the union of the `count` largest logits of each (equal ones
    by smaller token id), ranks recomputed inside: how the tokens that matter are ordered, which the
    whole vocabulary hides. Without a good direction; an increasing map of the logits leaves both
    unchanged, unless it merges values. NaN where a row is constant (there) or holds NaN. Uses as
    many threads as torch does; temporary memory does not depend on P.

    Raises:
        ValueError: shapes that differ or are not [P, V], fewer than 2 or more than 2^27 logits, or
            a `count` that is not in 1..V.
    """
    _check(a_PV, b_PV, count)
    if a_PV.device.type != "cpu":
        whole = spearman_by_argsort(a_PV, b_PV)
        return Correlations(whole, spearman_top_by_pairs(a_PV, b_PV, count))

    found = whole_vocabulary(a_PV, b_PV, count)
    return Correlations(found[0], best_tokens(a_PV, b_PV, count, *found[1:]))


def _check(a_PV: Tensor, b_PV: Tensor, count: int) -> None:
    if a_PV.shape != b_PV.shape or a_PV.ndim != 2:
        raise ValueError(
            "rank correlation needs logits [P, V] at the same positions: "
            f"got shapes {tuple(a_PV.shape)} and {tuple(b_PV.shape)}"
        )
    if not 2 <= a_PV.shape[1] <= LARGEST_VOCABULARY:
        raise ValueError(f"rank correlation needs 2 to 2^27 logits, got {a_PV.shape[1]}")
    if not 1 <= count <= a_PV.shape[1]:
        raise ValueError(f"count must lie in 1..{a_PV.shape[1]}, got {count}")


def spearman_by_argsort(a_PV: Tensor, b_PV: Tensor) -> NDArray[np.float64]:
    """`Correlations.spearman` by two sorts of whole chunks on the tensors' own device, [P].

    The path of GPUs, and an independent check of the other one.
    """
    parts = [
        _pearson(_average_ranks(a_PV[rows]), _average_ranks(b_PV[rows]))
        for rows in _chunks(len(a_PV), a_PV.shape[1])
    ]
    return _joined(parts)


def spearman_top_by_pairs(a_PV: Tensor, b_PV: Tensor, count: int = 100) -> NDArray[np.float64]:
    """`Correlations.spearman_top` by comparing all pairs of candidates, on the device, [P]."""
    parts = []
    for rows in _chunks(len(a_PV), max(a_PV.shape[1], 4 * count**2)):
        a_CV, b_CV = a_PV[rows].float(), b_PV[rows].float()
        best_a, best_b = _best_ids(a_CV, count), _best_ids(b_CV, count)
        repeated = (best_b[:, :, None] == best_a[:, None, :]).any(dim=-1)
        weight_CT = torch.cat([torch.ones_like(repeated), ~repeated], dim=1).double()
        ids_CT = torch.cat([best_a, best_b], dim=1)
        ranks = [_ranks_by_pairs(logits.gather(1, ids_CT), weight_CT) for logits in (a_CV, b_CV)]
        parts.append(_pearson(ranks[0], ranks[1], weight_CT))
    return _joined(parts)


def _chunks(rows: int, row_size: int) -> list[slice]:
    step = max(1, CHUNK // row_size)
    return [slice(start, start + step) for start in range(0, rows, step)]


def _joined(parts: list[Tensor]) -> NDArray[np.float64]:
    return torch.cat(parts).cpu().numpy() if parts else np.empty(0)


def _average_ranks(logits_CV: Tensor) -> Tensor:
    """Doubled average ranks from 0, float64 [C, V]; NaN in a row that holds NaN."""
    ordered, index_CV = logits_CV.float().sort(dim=-1)
    place = torch.arange(ordered.shape[1], device=ordered.device).expand_as(ordered)
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = starts.roll(-1, dims=1)
    size = ordered.shape[1]
    first = torch.where(starts, place, 0).cummax(dim=1).values
    last = torch.where(ends, place, size).flip(1).cummin(dim=1).values.flip(1)
    ranks = torch.empty_like(ordered, dtype=torch.float64)
    ranks.scatter_(1, index_CV, (first + last).double())
    ranks[ordered.isnan().any(dim=1)] = torch.nan
    return ranks


def _best_ids(logits_CV: Tensor, count: int) -> Tensor:
    """Ids of the `count` largest logits, [C, count]; of equal logits those with smaller ids."""
    bits = (logits_CV + 0.0).view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()  # the order of the floats
    ids = torch.arange(logits_CV.shape[1], device=logits_CV.device)
    return (ordered * 2**32 - ids).topk(count, dim=-1).indices


def _ranks_by_pairs(value_CT: Tensor, weight_CT: Tensor) -> Tensor:
    """Doubled average ranks among the candidates of weight 1, float64 [C, T]."""
    below = (value_CT[:, None, :] < value_CT[:, :, None]).double()
    equal = (value_CT[:, None, :] == value_CT[:, :, None]).double()
    ranks = ((2 * below + equal) @ weight_CT[:, :, None])[..., 0]
    return torch.where(value_CT.isnan().any(dim=1, keepdim=True), torch.nan, ranks)


def _pearson(a_CV: Tensor, b_CV: Tensor, weight_CV: Tensor | None = None) -> Tensor:
    """Correlation of two rows over the elements of weight 1 (all), [C]; NaN if one is constant."""
    weight = torch.ones_like(a_CV) if weight_CV is None else weight_CV
    total = weight.sum(dim=1, keepdim=True)
    a_CV = (a_CV - (a_CV * weight).sum(dim=1, keepdim=True) / total) * weight
    b_CV = (b_CV - (b_CV * weight).sum(dim=1, keepdim=True) / total) * weight
    product = (a_CV * b_CV).sum(dim=1)
    return product / ((a_CV**2).sum(dim=1) * (b_CV**2).sum(dim=1)).sqrt()
