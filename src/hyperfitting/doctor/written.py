"""Faults of texts that can be read off the texts alone. Pure.

Each check gets all texts and says what it finds; shares that are worth a word are ours.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ftfy.badness import BADNESS_RE

from hyperfitting.records.diagnosed import Finding, Level

LOST = re.compile("\ufffd")  # stands for bytes that are no character
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d{1,5}|#x[0-9a-f]{1,4});|(?<![\w&])#\d{2,4};|\bquot;", re.I)
TAG = re.compile(r"</?(?:p|br|div|span|a|b|i|em|strong|h[1-6]|li|ul|img|table|td|tr)\b[^>]*>", re.I)
ADDRESS = re.compile(r"https?://\S+|www\.\S+")
FINISHED = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*\s*$")
OPENING = 40  # characters by which two texts begin alike
FEW = 3  # texts that have to share it
REPEATED, OFTEN = 0.1, 0.5  # shares of texts


def _count(texts: Sequence[str], pattern: re.Pattern[str]) -> tuple[int, str]:
    """How many texts hold a pattern, and its first occurrence with a little around it."""
    count, example = 0, ""
    for text in texts:
        if found := pattern.search(text):
            count += 1
            start = max(0, found.start() - 15)
            example = example or " ".join(text[start : found.end() + 15].split())
    return count, example


def _held(
    name: str, texts: Sequence[str], pattern: re.Pattern[str], what: str, advice: str, level: Level
) -> list[Finding]:
    count, example = _count(texts, pattern)
    if not count:
        return []
    says = f"{count:,} of {len(texts):,} texts hold {what}, such as {example!r}"
    return [Finding(name=name, level=level, says=says, advice=advice)]


def encoding(texts: Sequence[str]) -> list[Finding]:
    """UTF-8 that was read as another encoding (by ftfy), and characters that were lost."""
    return _held(
        "encoding", texts, BADNESS_RE, "characters of a wrong encoding",
        "decode the file as it was written (UTF-8), or mend it (python: ftfy.fix_encoding)",
        "problem",
    ) + _held(
        "encoding", texts, LOST, "characters that were lost in decoding",
        "decode the file as it was written; what is lost cannot be mended", "problem",
    )  # fmt: skip


def records(texts: Sequence[str]) -> list[Finding]:
    """Rows of a table that were read as text."""
    count = sum(isinstance(_first_row(text), dict) for text in texts)
    if not count:
        return []
    return [
        Finding(
            name="rows", level="problem",
            says=f"{count:,} of {len(texts):,} texts begin with a JSON object: its braces and "
            "names would be learnt",
            advice="name the file .jsonl, so that a column is read (--text-field)",
        )
    ]  # fmt: skip


def _first_row(text: str) -> Any:
    """The first line as JSON; None where it is none."""
    try:
        return json.loads(text.lstrip().partition("\n")[0])
    except (ValueError, RecursionError):
        return None


def control_characters(texts: Sequence[str]) -> list[Finding]:
    """Characters that no text has."""
    return _held(
        "control characters", texts, CONTROL, "control characters", "take them out", "problem"
    )


def entities(texts: Sequence[str]) -> list[Finding]:
    """HTML that was never turned into characters; also where the & was lost."""
    return _held(
        "entities", texts, ENTITY, "HTML entities",
        "write them as characters (python: html.unescape; ` #39;` lost its &), or they are learnt",
        "problem",
    )  # fmt: skip


def markup(texts: Sequence[str]) -> list[Finding]:
    """HTML tags."""
    return _held("markup", texts, TAG, "HTML tags", "take the tags out", "problem")


def addresses(texts: Sequence[str]) -> list[Finding]:
    """Addresses of pages."""
    return _held(
        "addresses", texts, ADDRESS, "addresses of pages",
        "take them out, unless the model is to write some", "note",
    )  # fmt: skip


def duplicates(texts: Sequence[str]) -> list[Finding]:
    """Texts that differ in white space, case and punctuation only; the first of each is kept."""
    keys = Counter("".join(re.findall(r"\w+", text.lower())) for text in texts)
    more = sum(count - 1 for key, count in keys.items() if key)
    if not more:
        return []
    copies = len(texts) - len(set(texts))
    return [
        Finding(
            name="duplicates",
            level="problem" if more - copies > REPEATED * len(texts) else "note",
            says=f"{more:,} of {len(texts):,} texts repeat another, but for spaces, case and "
            f"punctuation; {copies:,} are exact copies, which training drops",
            advice="keep one of each: a copy that is held out is a text that was trained on",
        )
    ]  # fmt: skip


def boilerplate(texts: Sequence[str]) -> list[Finding]:
    """Beginnings and ends that many texts share."""
    found = []
    for name, piece_of in (("begin", slice(None, OPENING)), ("end", slice(-OPENING, None))):
        pieces = Counter(" ".join(t.split())[piece_of] for t in texts if len(t) > OPENING)
        piece, count = next(iter(pieces.most_common(1)), ("", 0))
        if count >= FEW and count > REPEATED * len(texts):
            found.append(
                Finding(
                    name="boilerplate", level="problem",
                    says=f"{count:,} of {len(texts):,} texts {name} with {piece!r}",
                    advice="take it off: contexts would be alike, and it is learnt first",
                )
            )  # fmt: skip
    return found


def unfinished(texts: Sequence[str]) -> list[Finding]:
    """Texts that break off."""
    count = sum(not FINISHED.search(text) for text in texts)
    if count <= OFTEN * len(texts):
        return []
    return [
        Finding(
            name="unfinished", level="note",
            says=f"{count:,} of {len(texts):,} texts do not end with a sentence's end",
            advice="whole texts, if the model is to learn where to stop (--windows documents)",
        )
    ]  # fmt: skip


CHECKS: tuple[Callable[[Sequence[str]], list[Finding]], ...] = (
    encoding, records, control_characters, entities, markup, addresses, duplicates, boilerplate,
    unfinished,
)  # fmt: skip


def look_at(texts: Iterable[str]) -> list[Finding]:
    """What all checks find of texts that hold something."""
    kept = [text for text in texts if text.strip()]
    return [finding for check in CHECKS for finding in check(kept)] if kept else []
