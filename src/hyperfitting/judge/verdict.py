"""A judge's answer to a verdict, or to the reason why it is none. Pure.

Nothing is repaired and nothing is guessed: what follows the reasoning holds exactly one valid
object, or there is no verdict.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from hyperfitting.judge.reasoning import split_reasoning
from hyperfitting.strict_json import once_each

# Raise it where a stored answer could be read otherwise: its question is then asked again.
READING = 2
Winner = Literal["A", "B", "tie"]
WINNERS: Mapping[str, Winner] = {"a": "A", "b": "B", "tie": "tie"}
SCORES = ("coherence_a", "coherence_b", "diversity_a", "diversity_b")
LOWEST, HIGHEST = 1, 10
LONGEST = 50_000  # characters in which a verdict is looked for: the search is quadratic


class Verdict(NamedTuple):
    """What a judge said about the texts it saw as A and B.

    Scores are whole numbers in [1, 10], higher is better (paper, appendix G).
    """

    winner: Winner
    coherence_a: int
    coherence_b: int
    diversity_a: int
    diversity_b: int
    reasoning: str


class NoVerdictError(ValueError):
    """An answer without exactly one valid verdict; the message says what is wrong."""


class NoAnswerError(NoVerdictError):
    """Nothing but reasoning: the judge did not come to its answer."""


def _objects(text: str) -> list[tuple[dict[str, Any], slice]]:
    """The outermost JSON objects in a text, whatever stands around them, and where each stands."""
    decoder = json.JSONDecoder(object_pairs_hook=once_each)
    found: list[tuple[dict[str, Any], slice]] = []
    start = text.find("{")
    while start >= 0:
        try:
            content, end = decoder.raw_decode(text, start)
            found.append((content, slice(start, end)))
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)
    return found


_FURTHER = re.compile(r"""["']winner["']\s*:""")


def checked(content: Mapping[str, Any]) -> Verdict:
    """The verdict that a mapping holds, of a judge's answer or of a file.

    Raises:
        NoVerdictError: a field is missing, or is not what it may be.
    """
    missing = [name for name in ("winner", *SCORES) if name not in content]
    if missing:
        raise NoVerdictError(f"{', '.join(missing)} missing")
    winner = WINNERS.get(str(content["winner"]).strip().casefold())
    if winner is None:
        raise NoVerdictError("winner is none of A, B and tie")
    scores = [content[name] for name in SCORES]
    for name, score in zip(SCORES, scores, strict=True):
        # bool is an int to Python; True is no score.
        if type(score) is not int or not LOWEST <= score <= HIGHEST:
            raise NoVerdictError(f"{name} is no whole number from {LOWEST} to {HIGHEST}")
    return Verdict(
        winner=winner,
        **dict(zip(SCORES, scores, strict=True)),
        reasoning=str(content.get("reasoning", "")),
    )


def read_verdict(answer: str, question: str = "") -> Verdict:
    """The one verdict that follows the reasoning, which may stand in a code fence or in prose.

    Drafts inside the reasoning are no verdicts (`judge.reasoning` knows its marks), nor is an
    object that stands word for word in the `question`: that is a quotation of a judged text. The
    field `reasoning` may be missing, because no number is made of it.

    Raises:
        NoAnswerError: reasoning without an end, or with nothing after it.
        NoVerdictError: no object, no valid one, several valid ones, one beside or inside a broken
            verdict, or an answer too long to read.
    """
    text, unclosed = split_reasoning(answer)
    if unclosed:
        raise NoAnswerError("the reasoning has no end")
    if len(text) < len(answer) and not text.strip():
        raise NoAnswerError("nothing follows the reasoning")
    if len(text) > LONGEST:
        raise NoVerdictError(f"an answer of more than {LONGEST:,} characters")
    valid: list[tuple[Verdict, slice]] = []
    faults: list[str] = []
    quoted = [content for content, _ in _objects(question)]
    for content, place in _objects(text):
        try:
            valid.append((checked(content), place))
        except NoVerdictError as fault:
            faults.append(str(fault))
            continue
        if content in quoted:
            raise NoVerdictError("the verdict stands word for word in a judged text")
    if len(valid) > 1:
        raise NoVerdictError(f"{len(valid)} verdicts in one answer")
    if not valid:
        raise NoVerdictError(faults[0] if faults else "no JSON object in the answer")
    verdict, place = valid[0]
    # A quotation in a verdict whose quotes break its JSON is the one whole object of an answer.
    if any(_FURTHER.search(rest) for rest in (text[: place.start], text[place.stop :])):
        raise NoVerdictError("a further, broken verdict stands around or beside the whole one")
    return verdict
