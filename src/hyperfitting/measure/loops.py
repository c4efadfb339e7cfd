"""Loops as inference engines detect them, and how far a text can be compressed.

Shape letters: T tokens of a text.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StopRule:
    """The last tokens are one pattern, `min_count` times in a row (definitions, section 2.10).

    A pattern has `min_pattern_size` to `max_pattern_size` tokens. Source: vLLM's
    `repetition_detection` (PR 35451), whose names these are, and llama.cpp's PR 26039.
    """

    max_pattern_size: int
    min_pattern_size: int
    min_count: int

    def first_stop(self, ids: Sequence[int]) -> int | None:
        """After how many tokens an engine that looks at every one would stop; None if never."""
        row_T = np.asarray(ids, dtype=np.int64)
        stops = [
            end
            for size in range(self.min_pattern_size, self.max_pattern_size + 1)
            if size * self.min_count <= len(row_T)
            and (end := self._first_of_size(row_T, size)) is not None
        ]
        return min(stops, default=None)

    def _first_of_size(self, row_T: NDArray[np.int64], size: int) -> int | None:
        """The same for patterns of one size."""
        wanted = size * (self.min_count - 1)  # tokens in a row that are those `size` before
        differs = np.flatnonzero(row_T[size:] != row_T[:-size])
        borders = np.concatenate([[-1], differs, [len(row_T) - size]])
        long = np.flatnonzero(np.diff(borders) - 1 >= wanted)
        return int(borders[long[0]]) + 1 + wanted + size if len(long) else None


# vLLM has its rule off by default; sizes and count are those its PR 52677 recommends against
# false positives. llama.cpp's are its defaults.
VLLM = StopRule(max_pattern_size=128, min_pattern_size=4, min_count=4)
LLAMA_CPP = StopRule(max_pattern_size=1024, min_pattern_size=16, min_count=4)


def vllm_loop(ids: Sequence[int]) -> float | None:
    """1 where vLLM's rule (patterns of 4 to 128 tokens, 4 times) would stop a text, else 0.

    Definitions, section 2.10; None without tokens. Of human text it is a false positive.
    """
    return _loops(VLLM, ids)


def llama_cpp_loop(ids: Sequence[int]) -> float | None:
    """1 where llama.cpp's rule (patterns of 16 to 1024 tokens, 4 times) would stop a text, else 0.

    Definitions, section 2.10; None without tokens. It needs 64 tokens: shorter texts have 0.
    """
    return _loops(LLAMA_CPP, ids)


def _loops(rule: StopRule, ids: Sequence[int]) -> float | None:
    return float(rule.first_stop(ids) is not None) if len(ids) else None


def compression_ratio(text: str) -> float | None:
    """Bytes of the UTF-8 text / bytes of it compressed by zlib, above 0; None of no text.

    Definitions, section 2.10; whisper's measure, who counts a text above 2.4 as a failure. Short
    texts are below 1. Rises with length; nearer to human text is better.
    """
    written = text.encode("utf-8", errors="surrogatepass")
    return len(written) / len(zlib.compress(written)) if written else None
