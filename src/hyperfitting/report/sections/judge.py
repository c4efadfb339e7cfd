"""What a judge prefers."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records.estimates import Estimate
from hyperfitting.records.judged import Rate
from hyperfitting.report.load import Study
from hyperfitting.report.tables import MISSING, Cell, Content, Table, estimate, number, p_text
from hyperfitting.untrusted import printable

TITLE = "What a judge prefers"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
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
            Cell(f"{study.label(found.a.arm)} against {study.label(found.b.arm)}"),
            Cell(printable(found.judge.model), note=found.protocol),
            Cell(question),
            *(_rate(rate, found.n, "" if found.n else "no valid pair") for rate in outcome.rates),
            Cell(p_text(outcome.p), reason=outcome.reason or ""),
            _rate(found.position_flip_rate, found.n, found.position_flip_rate.reason or "")
            if question == "winner"
            else Cell(MISSING, reason="counted for the winner"),
            Cell(number(found.n, 0), note=f"{found.unusable.pairs} left out"),
        ]
        for found in study.judgements
        for question, outcome in found.questions.items()
    ]
    return Table("judgements", header, rows)


def _rate(found: Rate, n: int, reason: str) -> Cell:
    own = Estimate(value=found.percent, low=found.low, high=found.high, n=n, reason=reason)
    return estimate(own, 1)
