"""Memorisation audit: how much of a continuation stands word for word in the training set.

Definitions, section 2.6 (Carlsson et al., arXiv 2412.04318). A suffix array over the training
tokens answers exactly, without hashes. Built by prefix doubling (Manber and Myers 1993), and only
suffixes that still look alike are sorted again (Larsson and Sadakane 2007).
Shape letters: M training tokens with one separator after each row, Q tokens asked about.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SEPARATOR = -1  # ends a training row
OTHER_SEPARATOR = -2  # ends a continuation; never equal to the one above
LONG_RUN = 10  # tokens; longer runs are counted (definitions, section 2.6)

Rows = Sequence[Sequence[int] | NDArray[np.integer[Any]]]


class Overlap(NamedTuple):
    """The longest run of tokens of a continuation that stands in a training row."""

    length: int  # tokens; 0 where no token of it occurs
    start: int | None  # first token of the run in the continuation; the first of equal runs
    row: int | None  # the training row that has it, the first one
    offset: int | None  # first token of the run in that row


def _joined(rows: Rows, separator: int) -> NDArray[np.int32]:
    """All rows one after another, a separator after each."""
    parts = [np.asarray(row, dtype=np.int64) for row in rows]
    if any(part.size and (part.min() < 0 or part.max() >= 2**31) for part in parts):
        raise ValueError("token ids must lie in [0, 2^31)")
    joined = np.full(sum(map(len, parts)) + len(parts), separator, dtype=np.int32)
    start = 0
    for part in parts:
        joined[start : start + len(part)] = part
        start += len(part) + 1
    return joined


def _first_keys(text_M: NDArray[np.int32]) -> tuple[NDArray[np.int64], int]:
    """As many tokens from each position on as fit into 63 bits, and how many these are."""
    bits = int(text_M.max() + 1).bit_length()
    width = min(63 // bits, len(text_M))
    key_M = np.zeros(len(text_M), dtype=np.int64)
    for j in range(width):
        key_M <<= bits
        key_M[: len(text_M) - j] |= text_M[j:] + np.int64(1)
    return key_M, width


def _group_starts(key: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a new value begins in a sorted array."""
    starts = np.ones(len(key), dtype=bool)
    np.not_equal(key[1:], key[:-1], out=starts[1:])
    return starts


def _tied(starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Members of groups of more than one."""
    alone = starts.copy()
    alone[:-1] &= starts[1:]
    return ~alone


def suffix_array(text_M: NDArray[np.int32]) -> NDArray[np.int32]:
    """Positions of `text_M`, ordered by the tokens from there to the row's separator, [M].

    Suffixes that are equal up to their separators stand side by side in no particular order.
    """
    end_R = np.flatnonzero(text_M == SEPARATOR)
    key, width = _first_keys(text_M)
    order_M = np.argsort(key).astype(np.int32)
    starts = _group_starts(key[order_M])
    del key
    slots = np.arange(len(text_M))
    rank_M = np.empty(len(text_M), dtype=np.int32)  # the slot at which a group begins
    rank_M[order_M] = np.maximum.accumulate(np.where(starts, slots, 0))
    slots = slots[_tied(starts)]
    while True:
        position = order_M[slots]
        # Equal over `width` tokens, and a row ends among them: nothing is left to compare.
        open_ended = end_R[np.searchsorted(end_R, position)] - position >= width
        slots, position = slots[open_ended], position[open_ended]
        if len(slots) == 0:
            return order_M
        key = rank_M[position].astype(np.int64) * len(text_M) + rank_M[position + width]
        by_key = np.argsort(key)
        position, starts = position[by_key], _group_starts(key[by_key])
        order_M[slots] = position
        rank_M[position] = np.maximum.accumulate(np.where(starts, slots, 0))
        slots = slots[_tied(starts)]
        width *= 2


class TrainingIndex:
    """Finds runs of tokens in the training rows; a run never crosses the border of two rows.

    Args:
        rows: token ids of the training sequences, at least one token in all.

    Raises:
        ValueError: no tokens, ids outside [0, 2^31), or 2^31 tokens and more.
    """

    def __init__(self, rows: Rows) -> None:
        count = sum(len(row) for row in rows)
        if not 0 < count < 2**31 - len(rows):
            raise ValueError(f"an index needs 1 to 2^31 training tokens, got {count}")
        self._text_M = _joined(rows, SEPARATOR)
        self._order_M = suffix_array(self._text_M)
        self._end_R = np.flatnonzero(self._text_M == SEPARATOR)

    def _narrowed(
        self,
        low: NDArray[np.int64],
        high: NDArray[np.int64],
        depth: int,
        token: NDArray[np.int32],
        *,
        after: bool,
    ) -> NDArray[np.int64]:
        """First slot in [low, high) whose token at `depth` is >= `token`, or > if `after`."""
        below = np.less_equal if after else np.less
        while (low < high).any():
            middle = (low + high) // 2
            # Searches that have ended may point past the end; what they see is not used.
            there = self._order_M.take(middle, mode="clip") + depth
            is_below = below(self._text_M.take(there, mode="clip"), token) & (low < high)
            low = np.where(is_below, middle + 1, low)
            high = np.where(is_below, high, middle)
        return low

    def _matches(self, text_Q: NDArray[np.int32]) -> tuple[NDArray[Any], ...]:
        """For each position: the longest run from there on, and the slots that hold it."""
        length_Q = np.zeros(len(text_Q), dtype=np.int64)
        low_Q, high_Q = np.zeros_like(length_Q), np.full_like(length_Q, len(self._order_M))
        active = np.flatnonzero(text_Q >= 0)
        depth = 0
        while len(active):
            token = text_Q[active + depth]
            low, high = low_Q[active], high_Q[active]
            first = self._narrowed(low, high, depth, token, after=False)
            last = self._narrowed(first, high, depth, token, after=True)
            found = (first < last) & (token >= 0)
            active = active[found]
            depth += 1
            length_Q[active] = depth
            low_Q[active], high_Q[active] = first[found], last[found]
        return length_Q, low_Q, high_Q

    def match_lengths(self, texts: Rows) -> list[NDArray[np.int64]]:
        """For each token of each text the longest run from it on that a training row has.

        In tokens, [number of tokens] a text, each from 0 to the tokens left in the text.

        Raises:
            ValueError: ids outside [0, 2^31).
        """
        length_Q, _, _ = self._matches(_joined(texts, OTHER_SEPARATOR))
        ends = np.cumsum([len(text) + 1 for text in texts])
        return [
            length_Q[end - len(text) - 1 : end - 1] for text, end in zip(texts, ends, strict=True)
        ]

    def longest_overlaps(self, texts: Rows) -> list[Overlap | None]:
        """The longest run of each text that stands in a training row, and where; None of no tokens.

        Definitions, section 2.6. Many texts at once are much faster than one after the other.

        Raises:
            ValueError: ids outside [0, 2^31).
        """
        length_Q, low_Q, high_Q = self._matches(_joined(texts, OTHER_SEPARATOR))
        overlaps: list[Overlap | None] = []
        begin = 0
        for text in texts:
            if len(text) == 0:
                overlaps.append(None)
            else:
                best = begin + int(length_Q[begin : begin + len(text)].argmax())
                place = (low_Q[best], high_Q[best])
                overlaps.append(self._overlap(int(length_Q[best]), best - begin, *place))
            begin += len(text) + 1
        return overlaps

    def _overlap(self, length: int, start: int, low: int, high: int) -> Overlap:
        if length == 0:
            return Overlap(0, None, None, None)
        position = int(self._order_M[low:high].min())
        row = int(np.searchsorted(self._end_R, position))
        begin = int(self._end_R[row - 1]) + 1 if row else 0
        return Overlap(length, start, row, position - begin)


def long_runs(length_K: NDArray[np.int64]) -> list[int]:
    """The places of a text inside of runs above `LONG_RUN` tokens that a training row has.

    From its `match_lengths`; in order.
    """
    covered = np.zeros(len(length_K), dtype=bool)
    for start in np.flatnonzero(length_K > LONG_RUN):
        covered[start : start + length_K[start]] = True
    places: list[int] = np.flatnonzero(covered).tolist()
    return places


def longest_run(length_K: NDArray[np.int64]) -> int | None:
    """The longest run of a text that a training row has, from its `match_lengths`; in tokens.

    Definitions, section 2.6. From 0, where no token is in the training set, to the text's length;
    None without tokens.
    """
    return int(length_K.max()) if len(length_K) else None


def ngram_overlap(length_K: NDArray[np.int64], order: int) -> float | None:
    """Share of a text's n-grams that stand in a training row, from its `match_lengths`; [0, 1].

    Each place counts, also where an n-gram comes again. None for fewer tokens than `order`. Ours:
    the source gives runs only.

    Raises:
        ValueError: an order below 1.
    """
    if order < 1:
        raise ValueError(f"n-grams have an order of at least 1, got {order}")
    places = length_K[: max(0, len(length_K) - order + 1)]
    return float((places >= order).mean()) if len(places) else None
