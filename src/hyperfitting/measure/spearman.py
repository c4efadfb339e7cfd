"""Spearman rank correlation of two models' logits at each position.

Shape letters: P positions, V vocabulary, T candidates (2 x `count`).

On the CPU a row takes two sorts and no rank vector. A float32 is exact in a float64 and leaves
the low 29 bits of it zero, so a value and a number below 2^28 fit in one float64, which numpy
sorts with vector instructions and without the global lock. Sort (a, index); then sort (b, rank
of a): the low bits now list a's ranks in the order of b, and one dot product with 0..V-1 is the
sum of products of ranks. Ties are rare in float32 logits and are repaired where they occur.

Ranks are doubled and start at 0, so that an average rank is a whole number: the members of a
group at sorted places first..last all have first + last.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGEST_VOCABULARY = 2**27
# Elements of temporary memory for one chunk of rows in `spearman_by_argsort`.
CHUNK = 2**24
LOW_BITS = np.uint64(2**29 - 1)
# Elements of a dot product that BLAS computes in the calling thread.
DOT = 2**13
LONG_ROW = 2**14  # tokens
# A power of two beyond float32 (so its low bits are 0) stands for infinity, which cannot carry
# anything in its low bits: it would become NaN.
BEYOND = 2.0**129

Row = NDArray[np.float32]


class Correlations(NamedTuple):
    """Both correlations at each position, [P] each, in [-1, 1]; NaN is undefined."""

    spearman: NDArray[np.float64]
    spearman_top: NDArray[np.float64]


class _Scratch:
    """Reused memory of one thread, for rows of up to V values: 52 bytes a value."""

    def __init__(self, size: int) -> None:
        self.first, self.second = np.empty(size), np.empty(size)
        self.work = np.empty(size)
        self.value = np.empty(size, np.float32)
        self.place = np.arange(size, dtype=np.uint64)
        self.rank = 2 * self.place
        self.float_rank = 2 * np.arange(size, dtype=np.float64)


def correlations(a_PV: Tensor, b_PV: Tensor, *, count: int = 100) -> Correlations:
    """`spearman` and `spearman_top` in one pass: the best `count` follow from the same sorts.

    Raises:
        ValueError: as `spearman` and `spearman_top`.
    """
    _check(a_PV, b_PV, count)
    if a_PV.device.type != "cpu":
        whole = spearman_by_argsort(a_PV, b_PV)
        return Correlations(whole, spearman_top_by_pairs(a_PV, b_PV, count))

    def row(a: Row, b: Row, scratch: _Scratch) -> tuple[float, float]:
        whole = _correlation(a, b, scratch)
        if np.isnan(whole):  # a constant row, or NaN among the logits: nothing was sorted
            return whole, _top(a, b, count, scratch)
        last = np.float32(scratch.first[-count]), np.float32(scratch.second[-count])
        return whole, _top(a, b, count, scratch, last)

    found_P2 = _each_row(row, a_PV, b_PV)
    return Correlations(found_P2[:, 0], found_P2[:, 1])


def spearman(a_PV: Tensor, b_PV: Tensor) -> NDArray[np.float64]:
    """Spearman correlation of the logits of two models at each position, [P], in [-1, 1].

    Average ranks for ties, over the whole vocabulary, in float32 (definitions, section 3.4).
    Without a good direction; a positive factor or any other increasing map of the logits leaves
    it unchanged, unless it merges values. NaN where a row is constant or holds NaN. Uses as
    many threads as torch does; temporary memory does not depend on P.

    Raises:
        ValueError: shapes that differ or are not [P, V], or fewer than 2 or more than 2^27 logits.
    """
    _check(a_PV, b_PV, 1)
    if a_PV.device.type != "cpu":
        return spearman_by_argsort(a_PV, b_PV)
    return _each_row(lambda a, b, scratch: (_correlation(a, b, scratch),), a_PV, b_PV)[:, 0]


def spearman_top(a_PV: Tensor, b_PV: Tensor, count: int = 100) -> NDArray[np.float64]:
    """Spearman correlation over the union of both models' best tokens, [P], in [-1, 1].

    The `count` largest logits of each (equal ones by smaller token id), ranks recomputed inside
    the union (definitions, section 3.4). It says how the tokens that matter are ordered, which
    the whole vocabulary hides. NaN where one model's logits are constant in the union or a row
    holds NaN.

    Raises:
        ValueError: as `spearman`; also `count` not in 1..V.
    """
    _check(a_PV, b_PV, count)
    if a_PV.device.type != "cpu":
        return spearman_top_by_pairs(a_PV, b_PV, count)
    return _each_row(lambda a, b, scratch: (_top(a, b, count, scratch),), a_PV, b_PV)[:, 0]


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


def _each_row(
    row: Callable[[Row, Row, _Scratch], tuple[float, ...]], a_PV: Tensor, b_PV: Tensor
) -> NDArray[np.float64]:
    """`row` of every position, [P, values], in as many threads as torch uses.

    Short rows take one: their threads would mostly wait for the interpreter.
    """
    positions, size = a_PV.shape
    threads = torch.get_num_threads() if size >= LONG_ROW else 1
    workers = max(1, min(threads, positions))

    def work(worker: int) -> list[tuple[float, ...]]:
        scratch = _Scratch(size)
        with np.errstate(over="ignore"):  # BEYOND as a float32 is infinity again, as meant
            return [
                row(a_PV[p].detach().float().numpy(), b_PV[p].detach().float().numpy(), scratch)
                for p in range(worker, positions, workers)
            ]

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(work, range(workers)))
    width = max(len(part[0]) for part in parts if part) if positions else 2
    found = np.empty((positions, width))
    for worker, part in enumerate(parts):
        found[worker::workers] = np.reshape(part, (-1, width))
    return found


def _pack(values: Row, low: NDArray[np.uint64], out: NDArray[np.float64]) -> bool:
    """Write float64 `values` with `low` in their low bits; False if constant or with NaN."""
    smallest, largest = values.min(), values.max()
    if not smallest < largest:
        return False
    out[:] = values
    if np.isinf(smallest) or np.isinf(largest):
        np.clip(out, -BEYOND, BEYOND, out=out)
    bits = out.view(np.uint64)
    np.bitwise_or(bits, low, out=bits)
    return True


def _tied_places(
    ordered: NDArray[np.float64], value: Row
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Sorted places whose values are tied, their doubled average ranks, and sum of t^3 - t.

    t is the size of each group of equal values. `value` is overwritten.
    """
    # Drops the low bits, which are below half a unit of float32. -0.0 and 0.0 are neighbours.
    value[:] = ordered
    same = (value[1:] == value[:-1]).nonzero()[0]
    if same.size == 0:
        return same, same, 0.0
    opens = np.empty(same.size + 1, bool)  # where a new group starts, and the end
    opens[0] = opens[-1] = True
    np.greater(same[1:] - same[:-1], 1, out=opens[1:-1])
    starts = opens.nonzero()[0]
    first = same[starts[:-1]]
    size = starts[1:] - starts[:-1] + 1
    # The groups' members in a row: one place more per group than neighbours that are equal.
    place = np.repeat(first - starts[:-1] - np.arange(first.size), size)
    place += np.arange(place.size)
    wide = size.astype(np.float64)
    return place, np.repeat(2 * first + size - 1, size), float((wide * wide * wide - wide).sum())


def _correlation(a: Row, b: Row, scratch: _Scratch) -> float:
    """Spearman correlation of two rows; NaN if one is constant or holds NaN."""
    size = a.size
    first, second, work = scratch.first[:size], scratch.second[:size], scratch.work[:size]
    value, rank = scratch.value[:size], scratch.rank[:size]
    low = work.view(np.uint64)
    if not _pack(a, scratch.place[:size], first):
        return np.nan
    first.sort()
    place, average, ties_a = _tied_places(first, value)
    np.bitwise_and(first.view(np.uint64), LOW_BITS, out=low)
    np.take(b, low.view(np.int64), out=value, mode="clip")
    rank[place] = average
    packed = _pack(value, rank, second)
    rank[place] = 2 * place  # leave the scratch as it was
    if not packed:
        return np.nan
    second.sort()
    place, average, ties_b = _tied_places(second, value)
    bits = second.view(np.uint64)
    np.bitwise_and(bits, LOW_BITS, out=low)
    work[:] = low.view(np.int64)  # a's doubled ranks in the order of b
    # In parts, because BLAS starts threads, which would fight with these, for a longer product.
    other = scratch.float_rank[:size]
    product = sum(float(work[i : i + DOT] @ other[i : i + DOT]) for i in range(0, size, DOT))
    product += float((work[place] * (average - 2 * place)).sum())
    # Both sides four times: the covariance and the sums of squares of the centred ranks.
    covariance = product - float(size * (size - 1) ** 2)
    cubes = float(size) ** 3 - size
    return covariance / float(np.sqrt((cubes - ties_a) / 3) * np.sqrt((cubes - ties_b) / 3))


def _best(values: Row, count: int, last: np.float32) -> NDArray[np.int64]:
    """Ids of the `count` largest values, of which `last` is the smallest; ties by smaller id."""
    ids = (values >= last).nonzero()[0]
    if ids.size > count:
        above = values[ids] > last
        ids = np.concatenate([ids[above], ids[~above][: count - int(above.sum())]])
    return ids


def _top(
    a: Row,
    b: Row,
    count: int,
    scratch: _Scratch,
    last: tuple[np.float32, np.float32] | None = None,
) -> float:
    """Spearman correlation inside the union of the best; `last` are both `count`-th logits."""
    if last is None:
        if np.isnan(a.min()) or np.isnan(b.min()):
            return np.nan
        last = np.partition(a, -count)[-count], np.partition(b, -count)[-count]
    union = np.concatenate([_best(a, count, last[0]), _best(b, count, last[1])])
    union.sort()
    union = union[np.append(True, union[1:] != union[:-1])]
    return _correlation(a[union], b[union], scratch) if union.size > 1 else np.nan


def spearman_by_argsort(a_PV: Tensor, b_PV: Tensor) -> NDArray[np.float64]:
    """`spearman` by two sorts of whole chunks on the tensors' own device, [P].

    The path of GPUs, and an independent check of the other one.
    """
    parts = [
        _pearson(_average_ranks(a_PV[rows]), _average_ranks(b_PV[rows]))
        for rows in _chunks(len(a_PV), a_PV.shape[1])
    ]
    return _joined(parts)


def spearman_top_by_pairs(a_PV: Tensor, b_PV: Tensor, count: int = 100) -> NDArray[np.float64]:
    """`spearman_top` by comparing all pairs of candidates on the tensors' own device, [P]."""
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
