"""What kinds of tokens the tuned model prefers, by their rank in the original model.

Definitions, section 3.3 (paper, section 6; the paper gives no rule, so the rules are ours).
Shape letter: P positions.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal[
    "function_word",
    "content_word",
    "punctuation_or_number",
    "word_continuation",
    "whitespace_or_other",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

# A change of the list changes the numbers: give it a new version.
FUNCTION_WORDS_VERSION = "en-1"
_WORDS = """
    a an the this that these those
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself
    it its itself we us our ours ourselves they them their theirs themselves one oneself
    who whom whose which what whoever whatever whichever
    someone somebody something anyone anybody anything everyone everybody everything
    nobody nothing none
    each every either neither both all some any no many much more most few fewer less least
    several such other another enough own same
    about above across after against along among around as at before behind below beneath beside
    besides between beyond by despite down during except for from in inside into like near of off
    on onto out outside over past since than through throughout till to toward towards under until
    up upon via with within without
    and but or nor so yet if because although though while whereas unless whether once
    when where why how whenever wherever
    am is are was were be been being have has had having do does did doing done
    can could will would shall should may might must ought
    not never there here then thus hence also too very just only even still quite rather
    don't doesn't didn't can't couldn't won't wouldn't isn't aren't wasn't weren't
"""
FUNCTION_WORDS = frozenset(_WORDS.split())

RANK_CLASSES: tuple[tuple[str, int, float], ...] = (
    ("1", 1, 1),
    ("2-10", 2, 10),
    (">10", 11, np.inf),
    ("11-200", 11, 200),
    (">200", 201, np.inf),
)


def token_kind(text: str, starts_word: bool) -> Kind:
    """The kind of a token with this decoded text (definitions, section 3.3).

    A text with a letter is a `word_continuation` unless it starts a word; then it is a
    `function_word` if FUNCTION_WORDS has it, else a `content_word`. Without letters it is a
    `punctuation_or_number` if it holds only numbers, punctuation and symbols besides spaces.
    All else is `whitespace_or_other`: spaces, control characters, pieces of a character.

    The token is judged alone: " the" is a function word even where " the|rapist" follows.
    Special tokens are for the caller to leave out. English only.
    """
    core = text.strip().lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if any(character.isalpha() for character in core):
        if not starts_word:
            return "word_continuation"
        return "function_word" if core in FUNCTION_WORDS else "content_word"
    # A lone byte of a longer character decodes to the replacement character, a symbol by name.
    signs = [unicodedata.category(c)[0] for c in core if c != "\N{REPLACEMENT CHARACTER}"]
    if core and len(signs) == len(core) and set(signs) <= {"N", "P", "S", "Z"}:
        return "punctuation_or_number"
    return "whitespace_or_other"


@dataclass(frozen=True)
class TokenKinds:
    """The kind of every token id of one vocabulary."""

    kinds: tuple[Kind, ...]

    @classmethod
    def from_texts(cls, texts: Sequence[str], starts_word: Sequence[bool]) -> Self:
        """Kinds from each id's decoded text and whether it starts a word, both in id order.

        Raises:
            ValueError: different numbers of texts and flags.
        """
        if len(texts) != len(starts_word):
            raise ValueError(f"{len(texts)} texts but {len(starts_word)} flags")
        return cls(tuple(map(token_kind, texts, starts_word)))

    def of(self, ids: Iterable[int]) -> list[Kind]:
        """The kinds of these token ids, in their order.

        Raises:
            IndexError: an id outside the vocabulary.
        """
        ids = list(ids)
        if any(not 0 <= token < len(self.kinds) for token in ids):
            raise IndexError(f"token ids must lie in 0..{len(self.kinds) - 1}")
        return [self.kinds[token] for token in ids]


def completes_ngram(prefix: Sequence[int], token: int, order: int = 4) -> bool:
    """Whether `token` after `prefix` completes an n-gram that the prefix already holds.

    Definitions, section 3.3, with n = `order`. The earlier one lies wholly inside the prefix.

    Raises:
        ValueError: `order` below 1.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    starts = range(len(prefix) - order + 1)
    if not starts:
        return False
    completed = [*prefix[len(prefix) - order + 1 :], token]
    return any(list(prefix[i : i + order]) == completed for i in starts)


def completing_tokens(path: Sequence[int], start: int, order: int = 4) -> list[set[int]]:
    """For each position from `start` on: the tokens that complete an n-gram of path[:position].

    `completes_ngram` for every token at once, in one pass over the path; the result has
    len(path) - start sets.

    Raises:
        ValueError: `order` below 1, or `start` outside 0..len(path).
    """
    if order < 1 or not 0 <= start <= len(path):
        raise ValueError(f"order >= 1 and 0 <= start <= {len(path)} needed: {order}, {start}")
    followers: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
    completing = []
    for position, token in enumerate(path):
        context = tuple(path[max(0, position - order + 1) : position])
        if position >= start:
            completing.append(set(followers[context]))
        # Contexts cut short by the start of the path have lengths of their own: none recurs.
        followers[context].add(token)
    return completing


def avoids_repeat(
    original_P: Sequence[int], tuned_P: Sequence[int], completing_P: Sequence[set[int]]
) -> NDArray[np.bool_]:
    """Where the original model's choice completes a repeated n-gram and the tuned's does not, [P].

    Definitions, section 3.3 (anti-repetition moves); `completing_P` from `completing_tokens`.

    Raises:
        ValueError: different lengths.
    """
    choices = zip(original_P, tuned_P, completing_P, strict=True)
    return np.array([a in repeats and b not in repeats for a, b, repeats in choices], dtype=bool)


class RankClassRow(NamedTuple):
    """One rank class: n positions and shares of them in [0, 1], None where undefined."""

    rank_class: str
    n: int
    kinds: dict[Kind, float | None]
    seen_before: float | None
    avoids_repeat: float | None


def rank_class_table(
    rank_P: NDArray[np.int64],
    kind_P: Sequence[Kind],
    seen_before_P: NDArray[np.bool_],
    avoids_repeat_P: NDArray[np.bool_],
) -> list[RankClassRow]:
    """What the tuned model chooses, by its rank in the original model (definitions, 3.2, 3.3).

    All inputs describe the tuned model's choice at each position: rank in the original model
    (1 = best), kind, whether the token occurs earlier in the context, and `avoids_repeat`. Rows
    for ranks 1, 2-10, >10 and the two parts of >10. The shares of the kinds sum to 1.
    `avoids_repeat` is a share of promotions, so it is None for rank 1; all shares are None for
    a class without positions. Positions are pooled: pass one context at a time for a mean over
    contexts.

    Raises:
        ValueError: different lengths, or ranks below 1.
    """
    lengths = (len(rank_P), len(kind_P), len(seen_before_P), len(avoids_repeat_P))
    if len(set(lengths)) > 1:
        raise ValueError(f"one value per position needed, got {lengths}")
    if (rank_P < 1).any():
        raise ValueError("ranks start at 1")
    kind_index_P = np.array([KINDS.index(kind) for kind in kind_P], dtype=np.int64)
    rows = []
    for name, low, high in RANK_CLASSES:
        inside_P = (rank_P >= low) & (rank_P <= high)
        kinds = {kind: _share(kind_index_P[inside_P] == i) for i, kind in enumerate(KINDS)}
        avoids = None if name == "1" else _share(avoids_repeat_P[inside_P])
        rows.append(
            RankClassRow(name, int(inside_P.sum()), kinds, _share(seen_before_P[inside_P]), avoids)
        )
    return rows


def _share(flags: NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None
