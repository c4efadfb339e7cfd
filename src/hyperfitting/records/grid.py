"""What `grid.json` of a study of several models says: its plan, and how far every step is."""

from typing import Any, Literal

from hyperfitting.records.record import FileRecord, PathInside, Record

StepState = Literal["waiting", "done", "failed", "skipped"]


class StepEntry(Record):
    """One command of a grid; `said` is what a failed one ended with, or why it was not begun."""

    cell: PathInside
    name: str
    command: list[str]
    state: StepState
    tries: int = 0
    seconds: float | None = None  # of the last try; None of what no grid did
    exit_code: int | None = None
    said: str | None = None


class CellEntry(Record):
    """One model on one source of texts: a STUDY in the folder of this name."""

    name: PathInside
    model: str
    source: str


class GridFile(FileRecord):
    """The plan as it was last asked for, its cells, and every step in order."""

    plan: dict[str, Any]  # a PlanConfig of the version that wrote it
    cells: list[CellEntry]
    steps: list[StepEntry]
