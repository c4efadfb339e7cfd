"""What kind of token each class of ranks consists of."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records.controls.tokens import ChosenKinds
from hyperfitting.report.load import Study
from hyperfitting.report.tables import MISSING, Cell, Content, Table, estimate, number

TITLE = "What kind of token"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = token_kinds(study)
    return {"table": table} if table else None


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [token_kinds(study)]


def token_kinds(study: Study) -> Table:
    """What each rank class consists of, under teacher forcing."""
    found = study.explained.of(ChosenKinds)
    kinds = list(dict.fromkeys(kind for each in found for row in each.rows for kind in row.kinds))
    header = [("arm", ""), ("rank in original", ""), ("tokens", ""), ("share of choices", "")]
    header += [(kind.replace("_", " "), "share") for kind in kinds]
    header += [("seen before", "share"), ("avoids a repeat", "share")]
    rows = []
    for each in found:
        for row in each.rows:
            avoids = estimate(row.avoids_repeat)
            if row.rank_class == "1":
                avoids = Cell(MISSING, reason="the original makes the same choice")
            rows.append(
                [
                    Cell(study.label(each.arm)),
                    Cell(row.rank_class),
                    Cell(number(row.tokens, 0)),
                    estimate(row.share),
                    *(estimate(row.kinds.get(kind)) for kind in kinds),
                    estimate(row.seen_before),
                    avoids,
                ]
            )
    return Table("token_kinds", header, rows)
