"""What `fix.json` says: what the whole job took, and what came of it."""

from hyperfitting.records.diagnosed import Looped
from hyperfitting.records.record import FileRecord


class StepsFile(FileRecord):
    """`steps.json`: how long each step of a job took so far, seconds by name."""

    seconds: dict[str, float]


class AnswersFile(FileRecord):
    """`answers.json`: the tuned model's answers to the chats that the diagnosis asked."""

    after: Looped


class FixFile(FileRecord):
    """`fix.json`. Nothing was trained where `strength` is None: the advice says why."""

    model: str
    data: str
    advice: str  # of the diagnosis
    strength: float | None
    loops: float | None = None  # share of the tuned model's greedy texts
    chat_loops: float | None = None  # share of its answers to chats; None without a template
    still_loops: bool = False  # by one of these shares, too often
    is_verified: bool | None  # of the export; None where it is still to be converted
    seconds: dict[str, float]  # of each step, by name, over all calls that worked on it
    sentences: list[str]  # what was gained, what was lost, where it is
