"""At which layer do its words come up? The logit lens on words that a tuned model promotes."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records.controls.lens import Lens
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Cell, Content, Table, estimate

TITLE = "At which layer do its words come up?"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    found = study.explained.of(Lens)
    if not found:
        return None
    words = [f"{study.label(each.arm)}: {each.in_words}" for each in found]
    return {"words": words, "table": lens(study)}


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [lens(study)]


def lens(study: Study) -> Table:
    """Every layer of every tuned model."""
    header = [
        ("arm", ""), ("layer", ""), ("median rank, tuned", ""), ("median rank, original", ""),
        ("above the original's choice from here on", "share"),
    ]  # fmt: skip
    rows = [
        [
            Cell(study.label(found.arm)),
            Cell(str(row.layer)),
            estimate(row.rank_tuned, 0),
            estimate(row.rank_original, 0),
            estimate(row.passed),
        ]
        for found in study.explained.of(Lens)
        for row in found.rows
    ]
    return Table("lens", header, rows)
