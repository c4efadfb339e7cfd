"""Exact facts, oracle, invariances, planted truth, undefined."""

import hashlib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperfitting.builtin import ENGLISH_WORDS
from hyperfitting.data.word_list import english_words
from hyperfitting.measure.words import (
    FEWEST_IN_LIST,
    FEWEST_WORDS,
    KnownWords,
    is_among,
    judged_words,
    known_words,
    nonword_share,
    share_in_list,
    why_undefined,
    window_words,
    without_clitics,
    words_of,
)
from tests.recipes import recipe_of

LETTERS = "abZé'’ -.5_\n天"
texts = st.text(alphabet=LETTERS, max_size=25)
GERMAN = (
    "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich in seinem Bett zu "
    "einem ungeheuren Ungeziefer verwandelt. Er lag auf seinem panzerartig harten Rücken und sah, "
    "wenn er den Kopf ein wenig hob, seinen gewölbten, braunen, von bogenförmigen Versteifungen "
    "geteilten Bauch, auf dessen Höhe sich die Bettdecke, zum gänzlichen Niedergleiten bereit, "
    "kaum noch erhalten konnte."
)
DUTCH = (
    "Ik ben makelaar in koffi, en woon op de Lauriergracht. Het is mijn gewoonte niet, romans te "
    "schrijven, of zulke dingen, en het heeft dan ook lang geduurd, voor ik er toe overging een "
    "paar riem papier extra te bestellen, en het werk aan te vangen."
)
FRENCH = (
    "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se "
    "fermaient si vite que je n’avais pas le temps de me dire: je m’endors. Et, une demi-heure "
    "après, la pensée qu’il était temps de chercher le sommeil m’éveillait."
)
CHINESE = "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。" * 10
ENGLISH = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife. However little known the feelings or views of such a man may be on "
    "his first entering a neighbourhood, this truth is so well fixed in the minds of the "
    "surrounding families, that he is considered the rightful property of some one."
)


# What a word is


def by_characters(context, continuation):
    """Words of a continuation, whole and without a capital, one character after the other."""
    text = unicodedata.normalize("NFC", context + continuation).replace("’", "'")
    border = len(unicodedata.normalize("NFC", context))
    found, i = [], 0
    while i < len(text):
        j = i
        while j < len(text) and (
            text[j].isalnum()
            or (
                text[j] == "'" and j > i and text[j - 1].isalnum() and text[j + 1 : j + 2].isalnum()
            )
        ):
            j += 1
        if j == i:
            i += 1
            continue
        run, rest = text[i:j], text[j:]
        is_whole = i >= border and rest.strip("'") != ""
        if is_whole and all(c.isalpha() or c == "'" for c in run) and not run[0].isupper():
            found.append(run.lower())
        i = j
    return found


@given(texts, texts)
def test_words_agree_with_a_walk_over_the_characters(context, continuation):
    assert judged_words(context, continuation) == by_characters(context, continuation)


@pytest.mark.parametrize(
    ("context", "continuation", "expected"),
    [
        ("a ", "well-known dog's, it’s end. ", ["well", "known", "dog's", "it's", "end"]),
        ("the ca", "t sat.", ["sat"]),  # begun in the context
        ("the do", "n't go on", ["go"]),  # and through an apostrophe; cut at the end
        ("the don'", "t go.", ["go"]),
        ("the cat", " sat", []),
        ("the cat", " sat'", []),  # perhaps sat's
        ("the cat", "", []),
        ("", "3rd b2b x_y.", ["x", "y"]),  # digits are no words, an underscore separates
        ("", "said Mary of Ankara, oK. ", ["said", "of", "ok"]),  # names have capitals
        ("", "cafe\u0301 naïve.", ["café", "naïve"]),
        ("", "'tis a dogs' life.", ["tis", "a", "dogs", "life"]),
        ("", "123 !?", []),
    ],
)
def test_pieces_names_and_digits_are_no_words(context, continuation, expected):
    assert judged_words(context, continuation) == expected


def test_names_count_where_words_are_collected():
    assert words_of("Mary's dog") == ["mary's", "dog"]
    assert window_words("ven Mary saw the do") == {"mary", "saw", "the"}
    assert window_words("") == window_words("seven") == set()


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("dog's", "dog"), ("they'd've", "they"), ("don't", "do"), ("it'll", "it"), ("i'm", "i"),
        ("we're", "we"), ("can't", "not"), ("won't", "not"), ("shouldn't've", "should"),
        ("dog", "dog"), ("o'clock", "o'clock"),
    ],
)  # fmt: skip
def test_clitics(word, base):
    assert without_clitics(word) == base
    assert is_among(word, {base})
    assert not is_among(word, set())


# The word list


def test_the_word_list_is_the_one_that_the_recipe_makes():
    text = "".join(f"{word}\n" for word in sorted(english_words()))
    assert hashlib.sha256(text.encode()).hexdigest() == recipe_of("word_list").TEXT_SHA256
    assert len(english_words()) == 115_780
    assert ENGLISH_WORDS.stat().st_size < 400_000
    assert "Kevin Atkinson" in (Path(ENGLISH_WORDS).parent / "Copyright").read_text("utf-8")
    assert all(unicodedata.normalize("NFC", word).lower() == word for word in english_words())


def test_the_word_list_has_words_and_no_others():
    there = ["colour", "color", "walked", "boxes", "café", "don't", "wouldn't've", "can't", "it's"]
    assert all(is_among(word, english_words()) for word in there)
    absent = ["thewep", "chalfths", "andretched", "maureen", "goodth", "don'tth"]
    assert not any(is_among(word, english_words()) for word in absent)


@pytest.mark.parametrize(
    ("text", "is_english"),
    [(ENGLISH, True), (GERMAN, False), (DUTCH, False), (FRENCH, False), (CHINESE, False)],
)
def test_the_list_tells_english_from_other_languages(text, is_english):
    share = share_in_list([words_of(text, with_names=False)], english_words())
    assert share > 0.95 if is_english else share < 0.45
    assert (share >= FEWEST_IN_LIST) == is_english


def test_few_words_say_nothing_of_the_language():
    assert share_in_list([["the"] * (FEWEST_WORDS - 1)], english_words()) is None
    assert share_in_list([["the"], ["xq"] * (FEWEST_WORDS - 1)], {"the"}) == 1 / FEWEST_WORDS


# Words that do not exist


def naive_share(everywhere, heldout, index, context, continuation):
    """Looks each word up in every text, one after the other."""
    others = [words_of(a + b, is_cut=True) for n, (a, b) in enumerate(heldout) if n != index]
    texts = [list(everywhere), words_of(heldout[index][0], is_cut=True), *others]
    judged = by_characters(context, continuation)
    unknown = [
        word
        for word in judged
        if not any(each in words for words in texts for each in (word, without_clitics(word)))
    ]
    return len(unknown) / len(judged) if judged else None


@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=4),
    st.lists(st.text("ab'", min_size=1, max_size=3), max_size=3),
    texts,
)
def test_the_share_agrees_with_looking_everywhere(heldout, everywhere, continuation):
    known = KnownWords.of(everywhere, heldout)
    for index, (context, human) in enumerate(heldout):
        for text in (human, continuation):
            found = nonword_share(judged_words(context, text), known, index)
            assert found == naive_share(everywhere, heldout, index, context, text)


def test_a_human_text_is_no_witness_of_its_own_words():
    heldout = [("a simit and tea. ", "he ate the simit, the borek. "), ("a tea. ", "no borek. ")]
    known = KnownWords.of({"he", "ate", "the", "no", "a", "and", "tea"}, heldout)
    shares = [nonword_share(judged_words(*pair), known, n) for n, pair in enumerate(heldout)]
    assert shares == [0.0, 0.0]  # simit stands in its context, borek in the other text
    alone = KnownWords.of({"he", "ate", "the"}, heldout[:1])
    assert nonword_share(judged_words(*heldout[0]), alone, 0) == 1 / 6  # borek


def test_a_share_does_not_depend_on_the_order_of_the_words():
    known = KnownWords.of({"the", "cat"}, [("", "")])
    words = ["the", "cat", "chalfths", "the"]
    assert nonword_share(words, known, 0) == nonword_share(words[::-1], known, 0) == 0.25


def test_texts_without_words_have_no_share():
    assert nonword_share([], KnownWords.of(set(), [("", "")]), 0) is None


def test_training_texts_witness_words_and_few_or_foreign_ones_say_why():
    listed = set(ENGLISH.lower().replace(".", " ").replace(",", " ").split())
    heldout = [("", ENGLISH), ("", ENGLISH)]
    alone = known_words(listed, heldout, ())
    beside = known_words(listed, heldout, ["so the zorbling ran on"])
    assert not alone.is_known("zorbling", 0)
    assert beside.is_known("zorbling", 0)
    assert known_words(listed, [("", "the cat.")], ()) == why_undefined(None)
