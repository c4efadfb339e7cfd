"""How varied a text is and how it ended, from its token ids (or its words) alone.

Only generated tokens are counted, never the context. Undefined is None, never 0.
"""

import re
from collections.abc import Collection, Sequence

from hyperfitting.records import Ending

LONGEST_PERIOD = 32
FEWEST_PERIODIC = 24
# A run of letters or digits of any script: a word character that is not the underscore.
WORD = re.compile(r"[^\W_]+")


ROUNDING = 1e-9  # of a difference of two shares of texts: 4/20 - 3/20 is above .05


def type_token_ratio(ids: Sequence[int], last: int = 96) -> float | None:
    """Distinct tokens / tokens among the `last` ones, in (0, 1]; None without tokens.

    Definitions, section 2.1 (Carlsson et al.). Falls with length: compare equal lengths only.
    Nearer to human text is better.
    """
    scored = ids[-last:]
    return len(set(scored)) / len(scored) if scored else None


def ngram_repetition(ids: Sequence[int], order: int) -> float | None:
    """1 - distinct n-grams / n-grams, in [0, 1); None for fewer tokens than `order`.

    Definitions, section 2.3. 0 is no repetition; nearer to human text is better.
    """
    total = len(ids) - order + 1
    if total < 1:
        return None
    return 1 - len({tuple(ids[i : i + order]) for i in range(total)}) / total


def word_type_token_ratio(text: str) -> float | None:
    """Distinct words / words of a decoded text, in (0, 1]; None without words.

    A word is a maximal run of letters or digits (Unicode), lower-cased (definitions, section
    2.2). All words count, not the last 96 tokens, and it can be compared between tokenizers.
    Falls with length: compare equal lengths only. Nearer to human text is better.
    """
    words = [word.lower() for word in WORD.findall(text)]
    return len(set(words)) / len(words) if words else None


def diversity(ids: Sequence[int]) -> float | None:
    """Product of 1 - n-gram repetition for n = 2, 3, 4, in (0, 1]; None for fewer than 4 tokens.

    Definitions, section 2.4. 1 is no repeated bigram; nearer to human text is better.
    """
    product = 1.0
    for order in (2, 3, 4):
        repetition = ngram_repetition(ids, order)
        if repetition is None:
            return None
        product *= 1 - repetition
    return product


def loop_period(ids: Sequence[int]) -> int | None:
    """The shortest period p <= 32 with which the last max(3p, 24) tokens repeat, or None."""
    for period in range(1, LONGEST_PERIOD + 1):
        span = max(3 * period, FEWEST_PERIODIC)
        if span > len(ids):
            continue
        tail = ids[len(ids) - span :]
        if all(tail[i] == tail[i + period] for i in range(span - period)):
            return period
    return None


def loop_start(ids: Sequence[int]) -> int | None:
    """The first token of the tail that repeats itself with `loop_period`, or None of no loop.

    The tail is as long as the period holds: at least as long as the period's rule asks for.
    """
    period = loop_period(ids)
    if period is None:
        return None
    start = len(ids) - period
    while start > 0 and ids[start - 1] == ids[start - 1 + period]:
        start -= 1
    return start


def ending(ids: Sequence[int], ends: Collection[int]) -> Ending:
    """`ended` (an end token came), else `looped` (periodic at the end), else `truncated`.

    Definitions, section 2.5; each text is in exactly one class.
    """
    if any(token in ends for token in ids):
        return "ended"
    return "looped" if loop_period(ids) else "truncated"
