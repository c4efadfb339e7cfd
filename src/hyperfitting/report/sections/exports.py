"""Exports of the runs: whether what other programs read is still the model that was measured."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records import Arm
from hyperfitting.records.exported import ExportFile
from hyperfitting.report.load import Study
from hyperfitting.report.tables import MISSING, Cell, Content, Table, estimate
from hyperfitting.untrusted import printable

TITLE = "Exports"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = exports(study)
    return {"table": table, "refused": refused(study)} if table else None


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [exports(study)]


def exports(study: Study) -> Table:
    """Every export: is it verified, and how near is it to its run."""
    names = ["arm", "format", "weights", "verified", "same first choice", "same greedy texts",
             "same tokens", "TTR, run", "TTR, export", "loops, run", "loops, export"]  # fmt: skip
    rows = [_row(study, arm, each) for arm, found in study.exports.items() for each in found]
    return Table("exports", [(name, "") for name in names], rows)


def _row(study: Study, arm: Arm, about: ExportFile) -> list[Cell]:
    """One export; a dash where it was not read back."""
    kind = about.format + ("" if about.strength == 1 else f", strength {about.strength:g}")
    head = [Cell(study.label(arm)), Cell(printable(kind)), Cell(printable(about.dtype))]
    found = about.verification
    if found is None:
        missing = Cell(MISSING, reason=about.unread or "")
        return [*head, *[missing] * 8]
    texts = found.texts
    return [
        *head,
        Cell("yes" if found.is_verified else "no"),
        estimate(found.logits.top1),
        Cell(f"{texts.equal} of {texts.contexts}"),
        estimate(texts.equal_tokens),
        *(estimate(each.ttr) for each in (texts.run, texts.export)),
        *(estimate(each.looped, 2) for each in (texts.run, texts.export)),
    ]


def refused(study: Study) -> list[str]:
    """Why exports are not verified, a line each."""
    return [
        f"{study.label(arm)}, {about.format}, {about.dtype}: {'; '.join(found.refused)}."
        for arm, exported in study.exports.items()
        for about in exported
        if (found := about.verification) is not None and not found.is_verified
    ]
