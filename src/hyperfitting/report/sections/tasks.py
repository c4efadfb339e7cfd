"""What it forgot: tasks before and after tuning."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Cell, Content, Table, estimate, number
from hyperfitting.untrusted import printable

TITLE = "What it forgot"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = tasks(study)
    return {"table": table} if table else None


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [tasks(study)]


def tasks(study: Study) -> Table:
    """Tasks before and after tuning, and the difference over the same questions."""
    header = [
        ("arm", ""), ("task", ""), ("metric", ""), ("value", ""), ("standard error", ""),
        ("change", "tuned - original"), ("questions", ""),
    ]  # fmt: skip
    rows = [
        [
            Cell(study.label(found.arm)),
            Cell(printable(found.task)),
            Cell(printable(found.metric)),
            Cell(number(found.value, 3), reason=found.reason or ""),
            Cell(number(found.stderr, 3), reason=found.reason or ""),
            Cell("") if found.difference is None else estimate(found.difference, signed=True),
            Cell(number(found.n, 0)),
        ]
        for found in study.tasks
    ]
    return Table("tasks", header, rows)
