"""A judge's answer to a verdict, or to the reason why it is none. Pure.

Nothing is repaired and nothing is guessed: an answer holds exactly one valid object, or no verdict.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

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


def _no_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; the standard reader would silently keep the last of two equal keys."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice")
    return content


def _objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects in a text, whatever stands around them."""
    decoder = json.JSONDecoder(object_pairs_hook=_no_repeats)
    found: list[dict[str, Any]] = []
    start = text.find("{")
    while start >= 0:
        try:
            content, end = decoder.raw_decode(text, start)
            found.append(content)
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)
    return found


def _verdict(content: Mapping[str, Any]) -> Verdict:
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


def read_verdict(answer: str) -> Verdict:
    """The one verdict in an answer, which may stand in a code fence or in prose.

    A `<think>` block that opens the answer is left out: a draft in it is no verdict. The
    reasoning may be missing, because no number is made of it.

    Raises:
        NoVerdictError: no object, no valid one, several valid ones, or an answer too long to read.
    """
    if answer.lstrip().startswith("<think>") and "</think>" in answer:
        answer = answer.split("</think>", 1)[1]
    if len(answer) > LONGEST:
        raise NoVerdictError(f"an answer of more than {LONGEST:,} characters")
    objects = _objects(answer)
    valid, faults = [], []
    for content in objects:
        try:
            valid.append(_verdict(content))
        except NoVerdictError as fault:
            faults.append(str(fault))
    if len(valid) == 1:
        return valid[0]
    if valid:
        raise NoVerdictError(f"{len(valid)} verdicts in one answer")
    raise NoVerdictError(faults[0] if faults else "no JSON object in the answer")
