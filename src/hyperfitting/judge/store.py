"""Every answer on disk as soon as it is there, so that nothing is asked twice.

One JSON object a line, only ever appended. A line that a crash cut short is passed over, and
cut off before the next one is written; a broken line before the last is damage.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from hyperfitting.errors import InputError
from hyperfitting.faults import writing
from hyperfitting.foreign import require_regular
from hyperfitting.judge.verdict import checked
from hyperfitting.records.judged import Order
from hyperfitting.seals import DIGEST, content_digest

# usable: a verdict. unusable: the judge answered, and gave none. failed: no answer came.
Status = Literal["usable", "unusable", "failed"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of asking about one pair in one order. Strings of the judge are untrusted."""

    key: str  # of the question: texts, order, judge, settings, prompt
    context_index: int
    order: Order
    status: Status
    verdict: Mapping[str, Any] | None  # in the labels A and B, as they were shown
    reason: str | None  # why there is no verdict
    raw: list[str]  # what the judge wrote, where it gave no verdict
    requests: int  # answered ones, re-asked ones included
    prompt_tokens: int | None  # as the server counted; None where it does not
    answer_tokens: int | None
    model: str
    answered_by: str | None  # the model's name in the answer
    date: str  # UTC


class AnswerFile:
    """The answers of one folder, read once and then appended to. One writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {}
        self._torn_at: int | None = None  # where a line begins that has no end
        self._read()

    def _read(self) -> None:
        if not self.path.exists():
            return
        try:
            content = require_regular(self.path).read_bytes()
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be read: {error}",
                needed="the answers of an earlier job, or none",
            ) from error
        whole = content[: content.rfind(b"\n") + 1]
        names = {field.name for field in fields(Answer)}
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                row = json.loads(line)
                _require_unchanged(row)
                if row["verdict"] is not None:
                    checked(row["verdict"])
                # A later answer to the same question replaces a failure.
                self.answers[row["key"]] = Answer(**{name: row[name] for name in names})
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise InputError(
                    f"{self.path} is damaged in line {number}: {error!r}",
                    hint="delete that line; its question will be asked again",
                ) from error
        if len(whole) < len(content):
            self._torn_at = len(whole)

    def add(self, answer: Answer) -> None:
        """Append an answer; it is on the disk when this returns."""
        # ASCII: a judge can write lone surrogates, which UTF-8 cannot hold.
        row = asdict(answer)
        row |= {DIGEST: content_digest(row)}
        line = json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._torn_at is not None:  # or this line would be glued to the torn one
            os.truncate(self.path, self._torn_at)
            self._torn_at = None
        with writing(self.path), self.path.open("a", encoding="ascii") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.answers[answer.key] = answer

    def settled(self, key: str) -> Answer | None:
        """The answer to a question that need not be asked again; None for a failed one."""
        answer = self.answers.get(key)
        return None if answer is None or answer.status == "failed" else answer


def _require_unchanged(row: dict[str, Any]) -> None:
    """Refuse an answer that does not say what was written; older versions took no digests.

    Raises:
        ValueError: its digest is another.
    """
    said = {name: value for name, value in row.items() if name != DIGEST}
    if DIGEST in row and row[DIGEST] != content_digest(said):
        raise ValueError("its content is not what was written")
