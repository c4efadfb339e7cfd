"""What a judge prefers."""

from collections.abc import Mapping
from typing import Any

from hyperfitting.config import ReportConfig
from hyperfitting.report.load import Study
from hyperfitting.report.tables import MISSING, Cell, Table, estimate, number, p_text
from hyperfitting.untrusted import printable

TITLE = "What a judge prefers"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> dict[str, Any] | None:
    """What the template shows; None without data."""
    table = judgements(study)
    return {"table": table} if table else None


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [judgements(study)]


def judgements(study: Study) -> Table:
    """What a judge said of two arms (layout of the paper's Table 5), a row for each question."""
    header = [
        ("a against b", ""), ("judge", ""), ("question", ""), ("a wins", "%"), ("a loses", "%"),
        ("tie", "%"), ("p", "sign test"), ("changes with the order", "%"), ("pairs", "left out"),
    ]  # fmt: skip
    rows = [
        [
            Cell(f"{study.label(found.a)} against {study.label(found.b)}"),
            Cell(printable(found.judge), note=found.protocol),
            Cell(question),
            *(estimate(rate, 1) for rate in rates.values()),
            Cell(p_text(found.p[question]), reason=found.p_reasons[question]),
            estimate(found.flips, 1)
            if question == "winner"
            else Cell(MISSING, reason="counted for the winner"),
            Cell(number(found.n, 0), note=f"{found.left_out} left out"),
        ]
        for found in study.judgements
        for question, rates in found.rates.items()
    ]
    return Table("judgements", header, rows)
