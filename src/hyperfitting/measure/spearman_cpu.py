"""Spearman rank correlation on the CPU by two vectorised sorts a position.

Shape letters: P positions, C positions of one chunk, V vocabulary.

A float32 is exact in a float64 and leaves the low 29 bits of it zero, so a value and a number
below 2^28 fit in one float64, which numpy sorts with vector instructions and without the global
lock. Sort (a, index); then sort (b, rank of a): the low bits now list a's ranks in the order of
b, and one dot product with 0..V-1 is the sum of products of ranks. Ties are rare in float32
logits and are repaired where they occur. Positions are taken several at a time, so that a call
of numpy has enough to do.

Ranks are doubled and start at 0, so that an average rank is a whole number: the members of a
group at sorted places first..last all have first + last.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGEST_VOCABULARY = 2**27
# Logits of one model that a thread takes at a time, if a row is not longer: to be sorted, which
# wants them in the cache, and to be searched for the best, which wants few calls.
SORTED, SEARCHED = 2**17, 2**20
# Elements of a dot product that BLAS computes in the calling thread.
DOT = 2**13
LOW_BITS = np.int64(2**29 - 1)
# Powers of two beyond float32 (so their low bits are 0). The first stands for infinity, which
# cannot carry anything in its low bits: it would become NaN. The second sorts after everything.
BEYOND, PADDING = 2.0**129, 2.0**130

Row = NDArray[np.float32]
Rows = NDArray[np.float32]
_Padding = NDArray[np.bool_] | None


class _Scratch:
    """Reused memory of one thread for C rows of V values: 12 bytes a value, 24 a column."""

    def __init__(self, rows: int, size: int) -> None:
        self.key = np.empty((rows, size))
        self.value = np.empty((rows, size), np.float32)
        self.place = np.arange(size, dtype=np.int64)
        self.rank = 2 * self.place
        self.float_rank = self.rank.astype(np.float64)


def whole_vocabulary(a_PV: Tensor, b_PV: Tensor, count: int) -> list[NDArray[Any]]:
    """Correlations over the whole vocabulary and the `count`-th largest of a and b, [P] each."""

    def start(height: int) -> Callable[[Rows, Rows], tuple[NDArray[Any], ...]]:
        scratch = _Scratch(height, a_PV.shape[1])
        return lambda a, b: _correlation(a, b, scratch, count=count)

    return _each_chunk(start, SORTED, a_PV, b_PV)


def best_tokens(
    a_PV: Tensor, b_PV: Tensor, count: int, last_a_P: Row, last_b_P: Row
) -> NDArray[np.float64]:
    """Correlations inside the union of the best, given the `count`-th largest, [P]."""

    def rows(a: Rows, b: Rows, last_a: Row, last_b: Row) -> tuple[NDArray[np.float64]]:
        return (_top(a, b, count, last_a, last_b),)

    return _each_chunk(lambda _: rows, SEARCHED, a_PV, b_PV, last_a_P, last_b_P)[0]


def _each_chunk(
    start: Callable[[int], Callable[..., tuple[NDArray[Any], ...]]],
    block: int,
    a_PV: Tensor,
    b_PV: Tensor,
    *more_P: NDArray[Any],
) -> list[NDArray[Any]]:
    """Each result, [P], of a function of a few rows at a time, in as many threads as torch uses.

    Each thread starts with `start(most rows)`, which gives its function.
    """
    positions, size = a_PV.shape
    height = min(max(1, block // size), max(1, positions))
    chunks = [slice(i, i + height) for i in range(0, max(1, positions), height)]
    workers = min(torch.get_num_threads(), len(chunks))

    def work(worker: int) -> list[tuple[NDArray[Any], ...]]:
        rows = start(height)
        with np.errstate(over="ignore"):  # BEYOND as a float32 is infinity again, as meant
            return [
                rows(
                    *(each[chunk].detach().float().contiguous().numpy() for each in (a_PV, b_PV)),
                    *(each[chunk] for each in more_P),
                )
                for chunk in chunks[worker::workers]
            ]

    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(work, range(workers)))
    ordered = [parts[i % workers][i // workers] for i in range(len(chunks))]
    return [np.concatenate(each) for each in zip(*ordered, strict=True)]


def _pack(
    values: Rows, low_V: NDArray[np.int64], out: NDArray[np.float64], padding: _Padding
) -> NDArray[np.bool_]:
    """Write float64 `values` with `low_V` in their low bits; which rows hold NaN, [C]."""
    out[:] = values
    ends = values.min(axis=1), values.max(axis=1)
    if np.isinf(ends).any():
        np.clip(out, -BEYOND, BEYOND, out=out)
    if padding is not None:
        out[padding] = PADDING
    bits = out.view(np.int64)
    np.bitwise_or(bits, low_V, out=bits)
    undefined: NDArray[np.bool_] = np.isnan(ends[0])
    return undefined


class _Ties(NamedTuple):
    """Places of tied values, G of them, counted through all C sorted rows of a chunk."""

    place_G: NDArray[np.int64]
    change_G: NDArray[np.int64]  # from the doubled rank by place to the doubled average rank
    cubes_C: NDArray[np.float64]  # sum of t^3 - t, t the size of each group of equal values


def _ties(ordered: NDArray[np.float64], value: Rows, padding: _Padding) -> _Ties:
    """Groups of equal values in each sorted row; `value` is overwritten."""
    rows, size = ordered.shape
    # Drops the low bits, which are below half a unit of float32. -0.0 and 0.0 are neighbours.
    value[:] = ordered
    flat = value.reshape(-1)
    equal = flat[1:] == flat[:-1]
    equal[size - 1 :: size] = False  # from one row to the next
    if padding is not None:
        equal[padding.reshape(-1)[1:]] = False
    same = equal.nonzero()[0]
    if same.size == 0:
        return _Ties(same, same, np.zeros(rows))
    opens = np.empty(same.size + 1, bool)  # where a new group starts, and the end
    opens[0] = opens[-1] = True
    np.greater(same[1:] - same[:-1], 1, out=opens[1:-1])
    starts = opens.nonzero()[0]
    first = same[starts[:-1]]
    members = starts[1:] - starts[:-1] + 1
    # The groups' members in a row: one place more per group than neighbours that are equal.
    place = np.repeat(first - starts[:-1] - np.arange(first.size), members)
    place += np.arange(place.size)
    change = np.repeat(2 * first + members - 1, members) - 2 * place
    cubes_C = np.bincount(first // size, _cubes(members), minlength=rows).astype(np.float64)
    return _Ties(place, change, cubes_C)


def _cubes(members: NDArray[np.int64]) -> NDArray[np.float64]:
    wide = members.astype(np.float64)
    return wide * wide * wide - wide


def _correlation(
    a: Rows, b: Rows, scratch: _Scratch, padding: _Padding = None, count: int = 1
) -> tuple[NDArray[np.float64], Row, Row]:
    """Spearman correlation of each row, [C], and the `count`-th largest of a and of b, [C] each.

    NaN where a row of either holds NaN; the correlation also where one is constant. `padding`,
    [C, V], marks the last values of a row that are none.
    """
    rows, size = a.shape
    key, value = scratch.key[:rows], scratch.value[:rows]
    low = key.view(np.int64)
    last = np.empty((2, rows), np.float32)
    undefined = _pack(a, scratch.place, key, padding)
    key.sort(axis=1)
    last[0] = key[:, -count]
    ties_a = _ties(key, value, padding)
    np.bitwise_and(low, LOW_BITS, out=low)
    for each, index, out in zip(b, low, value, strict=True):
        np.take(each, index, out=out, mode="clip")
    undefined |= _pack(value, scratch.rank, key, padding)
    low.reshape(-1)[ties_a.place_G] += ties_a.change_G
    key.sort(axis=1)
    last[1] = key[:, -count]
    ties_b = _ties(key, value, padding)
    np.bitwise_and(low, LOW_BITS, out=low)
    key[:] = low  # a's doubled ranks in the order of b
    product = np.array([_dot(row, scratch.float_rank) for row in key])
    moved = key.reshape(-1)[ties_b.place_G] * ties_b.change_G
    product += np.bincount(ties_b.place_G // size, moved, minlength=rows)
    members = np.full(rows, size)
    if padding is not None:  # it has the same ranks on both sides: 4 n^2 + ... + 4 (size - 1)^2
        members -= padding.sum(axis=1)
        product -= _four_squares(members, size)
    # Both sides four times: the covariance and the sums of squares of the centred ranks.
    covariance = product - members * (members - 1.0) ** 2
    cubes = _cubes(members)
    spread = np.sqrt((cubes - ties_a.cubes_C) / 3) * np.sqrt((cubes - ties_b.cubes_C) / 3)
    last[:, undefined] = np.nan
    defined = ~undefined & (spread > 0)
    return np.divide(covariance, spread, out=np.full(rows, np.nan), where=defined), *last


def _dot(a_V: NDArray[np.float64], b_V: NDArray[np.float64]) -> float:
    """Their product, in parts: for a longer one BLAS starts threads, which fight with ours."""
    return sum(float(a_V[i : i + DOT] @ b_V[i : i + DOT]) for i in range(0, a_V.size, DOT))


def _four_squares(start: NDArray[np.int64], stop: int) -> NDArray[np.float64]:
    """4 start^2 + ... + 4 (stop - 1)^2."""
    below, n = 2.0 * stop * (stop - 1) * (2 * stop - 1) / 3, start.astype(np.float64)
    return below - 2 * n * (n - 1) * (2 * n - 1) / 3


def _best(values: Rows, count: int, last_C: Row) -> NDArray[np.int64]:
    """Places in the chunk of each row's `count` largest, of which `last_C` is the smallest.

    Of equal values those with smaller ids.
    """
    rows, size = values.shape
    place = (values >= last_C[:, None]).reshape(-1).nonzero()[0]
    row = place // size
    kept = np.ones(place.size, bool)
    for each in (np.bincount(row, minlength=rows) > count).nonzero()[0]:  # tied with the last
        here = (row == each).nonzero()[0]
        equal = here[values.reshape(-1)[place[here]] == last_C[each]]
        kept[equal[count - here.size :]] = False
    return place[kept]


def _top(a: Rows, b: Rows, count: int, last_a: Row, last_b: Row) -> NDArray[np.float64]:
    """Spearman correlation inside the union of the best, [C]; NaN where a `count`-th is."""
    rows, size = a.shape
    chosen = np.union1d(_best(a, count, last_a), _best(b, count, last_b))
    row = chosen // size
    members = np.bincount(row, minlength=rows)
    column = np.arange(chosen.size) - (members.cumsum() - members)[row]
    width = members.max(initial=1)
    best_a, best_b = np.zeros((2, rows, width), np.float32)
    best_a[row, column], best_b[row, column] = a.reshape(-1)[chosen], b.reshape(-1)[chosen]
    padding = np.arange(width) >= members[:, None]
    found, _, _ = _correlation(best_a, best_b, _Scratch(rows, width), padding)
    return np.where(np.isnan(last_a) | np.isnan(last_b), np.nan, found)
