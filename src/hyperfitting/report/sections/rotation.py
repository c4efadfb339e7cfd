"""Were singular vectors turned or values changed? The matrices of the blocks, and three hybrids."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records.controls.rotation import BOTH, VALUES, VECTORS, Rotation
from hyperfitting.records.controls.variety import Variety
from hyperfitting.report.load import Study
from hyperfitting.report.tables import FIXED_LOOPED, MISSING, Cell, Content, Table, estimate, number

TITLE = "Were vectors turned, or values changed?"
PARTS = {
    VALUES: "the tuned singular values",
    VECTORS: "the tuned singular vectors",
    BOTH: "the tuned matrices",
}


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    found = study.explained.of(Rotation)
    if not found:
        return None
    words = [f"{study.label(each.arm)}: {each.in_words}" for each in found]
    return {"words": words, "blocks": rotation(study), "hybrids": hybrids(study)}


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [rotation(study), hybrids(study)]


def rotation(study: Study) -> Table:
    """Every block of every tuned model whose matrices changed."""
    header = [
        ("arm", ""), ("block", ""), ("matrices", ""), ("relative change", ""),
        ("of it in singular values", "share"), ("by chance", "share"),
    ]  # fmt: skip
    rows = [
        [
            Cell(study.label(found.arm)),
            Cell(str(row.block)),
            Cell(str(row.matrices)),
            Cell(number(row.relative_change, 3)),
            Cell(number(row.values_share, 4)),
            Cell(number(row.values_share_by_chance, 4)),
        ]
        for found in study.explained.of(Rotation)
        for row in found.rows
    ]
    return Table("rotation", header, rows)


def hybrids(study: Study) -> Table:
    """The original with a part of the tuned model's matrices, and both models."""
    header = [
        (name, "")
        for name in ("arm", "the original with", "TTR", "Bigram repetition", FIXED_LOOPED,
                     "Top-1 agreement with tuned (TF)")
    ]  # fmt: skip
    rows = []
    for found in study.explained.of(Rotation):
        arm = Cell(study.label(found.arm))
        if found.original is not None and found.agreement is not None:
            rows.append(
                [arm, Cell("its own"), *_variety(found.original), estimate(found.agreement)]
            )
        for each in found.hybrids:
            name = Cell(PARTS.get(each.part, each.part))
            rows.append([arm, name, *_variety(each), estimate(each.top1_agreement_tuned)])
        if found.tuned is not None:
            none = Cell(MISSING, reason="agrees with itself")
            rows.append([arm, Cell("everything: the tuned model"), *_variety(found.tuned), none])
    return Table("rotation_hybrids", header, rows)


def _variety(of: Variety) -> list[Cell]:
    return [estimate(of.ttr), estimate(of.bigram_repetition), estimate(of.looped)]
