"""Does it override its original where that is unsure? Fifths of the human text by entropy."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records.controls.overrides import Overrides
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Cell, Content, Table, estimate, number

TITLE = "Does it override where the original is unsure?"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    found = study.explained.of(Overrides)
    if not found:
        return None
    words = [f"{study.label(each.arm)}: {each.in_words}" for each in found]
    return {"words": words, "table": overrides(study)}


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [overrides(study)]


def overrides(study: Study) -> Table:
    """Every fifth of every tuned model, the surest first."""
    header = [
        ("arm", ""), ("original's entropy, from", "nats"), ("to", "nats"), ("positions", ""),
        ("overridden", "share"), ("a draw would differ", "share"),
    ]  # fmt: skip
    rows = [
        [
            Cell(study.label(found.arm)),
            Cell(number(part.low_nats, 2)),
            Cell(number(part.high_nats, 2)),
            Cell(number(part.positions, 0)),
            estimate(part.overridden),
            estimate(part.drawn),
        ]
        for found in study.explained.of(Overrides)
        for part in found.rows
    ]
    return Table("overrides", header, rows)
