"""Is it sharpness and one shift together? The original with its logits scaled and shifted."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records.controls.joint_null import FittedNull, JointNull
from hyperfitting.report.load import Study
from hyperfitting.report.tables import FIXED_LOOPED, Cell, Content, Table, estimate, number

TITLE = "Is it sharpness and a shift together?"
KINDS = {"temperature": "one temperature", "shift": "one shift", "joint": "both together"}
MEASURED = ("share_explained", "ttr", "bigram_repetition", "looped", "top1_agreement_tuned")


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    found = study.explained.of(JointNull)
    if not found:
        return None
    words = [f"{study.label(each.arm)}: {each.in_words}" for each in found]
    return {"words": words, "table": joint_null(study)}


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [joint_null(study)]


def joint_null(study: Study) -> Table:
    """Every fit of every tuned model, with the original and the tuned model beside it."""
    header = [
        (name, "")
        for name in ("arm", "the original with", "temperature", "share of change explained", "TTR",
                     "Bigram repetition", FIXED_LOOPED, "Top-1 agreement with tuned (TF)")
    ]  # fmt: skip
    rows = [
        [Cell(study.label(found.arm)), *_cells(row)]
        for found in study.explained.of(JointNull)
        for row in found.rows
    ]
    return Table("joint_null", header, rows)


def _cells(row: FittedNull) -> list[Cell]:
    both = " and ".join(number(each, 2) for each in row.temperatures)
    values = (estimate(getattr(row, name)) for name in MEASURED)
    return [Cell(KINDS.get(row.kind, row.kind)), Cell(both), *values]
