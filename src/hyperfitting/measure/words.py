"""Words that do not exist: the share of a continuation's words that are known from nowhere.

Pure: the word list comes from `data.word_list`, texts from the caller. N held-out texts.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Self

# Names aside, of English texts more than 99 words of 100 stand in the list; of German, Dutch and
# French ones, which share short words with English, 16 to 37 (tests/measure/test_words.py).
FEWEST_IN_LIST = 0.7
FEWEST_WORDS = 20  # fewer human words say nothing of the language

APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\uff07", "'"))
# A maximal run of letters and digits of any script with apostrophes inside, not the underscore.
_RUN = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CLITICS = ("'s", "'d", "'m", "'ll", "'re", "'ve", "n't")
_BASES_OF_NOT = frozenset({"ca", "wo", "sha", "ai"})  # of can't, won't, shan't, ain't


def _plain(text: str) -> str:
    """Composed characters (NFC), one kind of apostrophe."""
    return unicodedata.normalize("NFC", text).translate(APOSTROPHES)


def words_of(
    text: str, *, before: str = "", is_cut: bool = False, with_names: bool = True
) -> list[str]:
    """The whole words of a text in their order, lower-cased.

    A word is a maximal run of letters (Unicode) with apostrophes inside; a hyphen separates, and
    a run with digits is none. A run that already begins in the text `before` is left out, with
    `is_cut` the one that the end of the text may have cut, and unless `with_names` those that
    begin with a capital.
    """
    return [run[0].lower() for run in _runs(text, before, is_cut, with_names)]


def _runs(text: str, before: str, is_cut: bool, with_names: bool) -> list[re.Match[str]]:
    """The whole words of `words_of`, with their places in the plain text from `before` on."""
    whole = _plain(before + text)
    start = len(_plain(before))
    end = len(whole.rstrip("'")) if is_cut else len(whole) + 1
    return [
        run
        for run in _RUN.finditer(whole)
        if run.start() >= start
        and run.end() < end
        and run[0].replace("'", "").isalpha()
        and (with_names or not run[0][0].isupper())
    ]


def judged_words(context: str, continuation: str) -> list[str]:
    """The words of a continuation that are looked up: whole, and without a capital.

    One that begins in the context or is cut at the end is a piece; one with a capital may be a
    name, and names need not stand anywhere.
    """
    return words_of(continuation, before=context, is_cut=True, with_names=False)


def window_words(text: str) -> set[str]:
    """The words of a piece of a longer text, without runs that touch its ends: they may be cut."""
    plain = _plain(text)
    first = _RUN.match(plain)
    return set(words_of(plain[first.end() :] if first else plain, is_cut=True))


def without_clitics(word: str) -> str:
    """The word before its clitics: `dog` of dog's, `they` of they'd've, `do` of don't."""
    while clitic := next((end for end in _CLITICS if word.endswith(end)), None):
        base = word[: -len(clitic)]
        if not base:
            break
        word = "not" if clitic == "n't" and base in _BASES_OF_NOT else base
    return word


def is_among(word: str, known: Collection[str]) -> bool:
    """Whether a lower-cased word is known, as it stands or without its clitics."""
    return word in known or without_clitics(word) in known


def share_in_list(texts_words: Sequence[Sequence[str]], listed: Collection[str]) -> float | None:
    """Share of all words of some texts that stand in a word list, [0, 1].

    None for fewer than `FEWEST_WORDS` words.
    """
    words = [word for of_text in texts_words for word in of_text]
    if len(words) < FEWEST_WORDS:
        return None
    return sum(is_among(word, listed) for word in words) / len(words)


def why_undefined(share: float | None) -> str | None:
    """Why words of a language are not looked up; None where they are."""
    if share is None:
        return f"the human texts have fewer than {FEWEST_WORDS} words without a capital"
    if share < FEWEST_IN_LIST:
        return (
            f"only {100 * share:.0f} % of the human words stand in the English word list: no list "
            "for this language"
        )
    return None


class KnownWords(NamedTuple):
    """What counts as a word beside each held-out text (definitions, section 2.9)."""

    everywhere: Collection[str]  # of the word list and of the training windows
    holders: Counter[str]  # how many held-out texts have a word
    own_N: Sequence[Collection[str]]  # words of each held-out text, context and continuation
    before_N: Sequence[Collection[str]]  # those of its context alone

    @classmethod
    def of(cls, everywhere: Collection[str], heldout: Sequence[tuple[str, str]]) -> Self:
        """From the context and the human continuation of every held-out text."""
        before_N = [frozenset(words_of(context, is_cut=True)) for context, _ in heldout]
        own_N = [frozenset(words_of(a + b, is_cut=True)) for a, b in heldout]
        return cls(everywhere, Counter(word for own in own_N for word in own), own_N, before_N)

    def is_known(self, word: str, index: int) -> bool:
        """Whether a word stands in the list, in training, in its context or in another text.

        The text at `index` itself is left out, so that human text has a rate of its own.
        """
        return any(
            each in self.everywhere
            or each in self.before_N[index]
            or self.holders[each] > (each in self.own_N[index])
            for each in (word, without_clitics(word))
        )


def known_words(
    listed: Collection[str], heldout: Sequence[tuple[str, str]], training: Iterable[str]
) -> KnownWords | str:
    """What counts as a word beside these held-out texts; or why no word is looked up.

    `listed` is a word list, `heldout` the context and human continuation of every text, and
    `training` the texts of training windows: not of nulls, whose pieces witness no word.
    """
    reason = why_undefined(share_in_list([judged_words(*pair) for pair in heldout], listed))
    if reason is not None:
        return reason
    trained = {word for text in training for word in window_words(text)}
    return KnownWords.of({*listed, *trained}, heldout)


def nonword_share(words: Sequence[str], known: KnownWords, index: int) -> float | None:
    """Share of a continuation's `judged_words` that do not exist, [0, 1]; None without words.

    Definitions, section 2.9. Each place counts. `index` is the held-out text whose context was
    continued. Human text has some, too: rare words, and words in which somebody speaks otherwise.
    """
    if not words:
        return None
    return sum(not known.is_known(word, index) for word in words) / len(words)


def broken_spans(
    context: str, continuation: str, known: KnownWords, index: int
) -> list[tuple[int, int]]:
    """Where in a continuation the words stand that do not exist: first character, and after last.

    Those that `nonword_share` counts. Empty too where composing characters moves the places.
    """
    if len(_plain(context + continuation)) != len(context + continuation):
        return []
    start = len(_plain(context))
    return [
        (run.start() - start, run.end() - start)
        for run in _runs(continuation, context, True, False)
        if not known.is_known(run[0].lower(), index)
    ]
