"""Every answer on disk as soon as it is there, so that nothing is asked twice.

One JSON object a line, only ever appended. A line that a crash cut short is passed over, and
cut off before the next one is written; a broken line before the last is damage. Each line has the
digest of its content; those of a file that has none get theirs before a line is added.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

from hyperfitting.errors import InputError
from hyperfitting.faults import writing
from hyperfitting.foreign import require_regular
from hyperfitting.judge.counts import counted
from hyperfitting.judge.verdict import checked
from hyperfitting.records.judged import Order
from hyperfitting.records.record import FieldError, Record, read
from hyperfitting.seals import DIGEST, content_digest
from hyperfitting.storage import write_text
from hyperfitting.strict_json import parse_json

# usable: a verdict. unusable: the judge answered, and gave none. failed: no answer came.
Status = Literal["usable", "unusable", "failed"]


def _text(value: Any) -> str:
    """A text that may hold halves of characters, as a judge can write them."""
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "a text is needed")
    return value


JudgesText = Annotated[str, PlainValidator(_text)]
# Earlier versions kept what the server stated, whatever it was.
Count = Annotated[int | None, BeforeValidator(counted)]


class Answer(Record):
    """What came of asking about one pair in one order. Texts of the judge are untrusted."""

    key: str  # of the question: texts, order, judge, settings, prompt
    context_index: int
    order: Order
    status: Status
    verdict: Mapping[str, Any] | None  # in the labels A and B, as they were shown
    reason: JudgesText | None  # why there is no verdict
    raw: list[JudgesText]  # what the judge wrote, where it gave no verdict
    requests: int  # answered ones, re-asked ones included
    prompt_tokens: Count  # as the server counted; None where it does not
    answer_tokens: Count
    model: str
    answered_by: str | None  # the model's name in the answer
    date: str  # UTC


class AnswerFile:
    """The answers of one folder, read once and then appended to. One writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {}
        self.without_digest = 0  # lines of a version that took none
        self._torn_at: int | None = None  # where a line begins that has no end
        self._read()

    def _read(self) -> None:
        content = self._content()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._torn_at = len(whole)
        rows = [self._row(number, line) for number, line in enumerate(whole.splitlines(), start=1)]
        bare = [number for number, row in enumerate(rows, start=1) if DIGEST not in row]
        if bare and len(bare) < len(rows):
            raise self._damaged(
                bare[0], f"it has no digest, and {len(rows) - len(bare)} other lines have one"
            )
        self.without_digest = len(bare)
        for number, row in enumerate(rows, start=1):
            try:
                answer = _answer(row)
            except ValueError as error:
                raise self._damaged(number, str(error)) from error
            self.answers[answer.key] = answer  # of two, the later one replaces a failure

    def _content(self) -> bytes:
        if not self.path.exists():
            return b""
        try:
            return require_regular(self.path).read_bytes()
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be read: {error}",
                needed="the answers of an earlier job, or none",
                hint="remove it, or keep the answers elsewhere: --out FOLDER",
            ) from error

    def _row(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            row = parse_json(line.decode("utf-8"))
        except ValueError as error:
            raise self._damaged(number, f"it is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise self._damaged(number, "it is no JSON object")
        return row

    def _damaged(self, number: int, why: str) -> InputError:
        return InputError(
            f"{self.path} is damaged in line {number}: {why}",
            needed="the lines as they were written",
            hint="delete that line; its question will be asked again",
        )

    def add(self, answer: Answer) -> None:
        """Append an answer; it is on the disk when this returns."""
        if self.without_digest:
            self._take_digests()
        line = _line(dict(answer))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._torn_at is not None:  # or this line would be glued to the torn one
            os.truncate(self.path, self._torn_at)
            self._torn_at = None
        with writing(self.path), self.path.open("a", encoding="ascii") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.answers[answer.key] = answer

    def _take_digests(self) -> None:
        """Give the lines of an earlier version digests: beside lines with one they are damage."""
        lines = self._content()[: self._torn_at].splitlines()
        rows = [self._row(number, line) for number, line in enumerate(lines, start=1)]
        write_text(self.path, "".join(_line(dict(_answer(row))) for row in rows))
        self.without_digest, self._torn_at = 0, None

    def settled(self, key: str) -> Answer | None:
        """The answer to a question that need not be asked again; None for a failed one."""
        answer = self.answers.get(key)
        return None if answer is None or answer.status == "failed" else answer


def _line(row: Mapping[str, Any]) -> str:
    # ASCII: a judge can write lone surrogates, which UTF-8 cannot hold.
    sealed = dict(row) | {DIGEST: content_digest(row)}
    return json.dumps(sealed, ensure_ascii=True, allow_nan=False) + "\n"


def _answer(row: Mapping[str, Any]) -> Answer:
    """The answer that a line holds.

    Raises:
        ValueError: a field is not what it has to be, or the content not what was written.
    """
    said = {name: value for name, value in row.items() if name != DIGEST}
    if DIGEST in row and row[DIGEST] != content_digest(said):
        raise FieldError("its content is not what was written")
    answer = read(Answer, said)
    if (answer.status == "usable") != (answer.verdict is not None):
        raise FieldError(f"its status is {answer.status}, which does not fit its verdict")
    if answer.verdict is not None:
        checked(answer.verdict)
    return answer
