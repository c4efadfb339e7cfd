"""What is reordered: ranks in the original of what was written."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records.controls.provenance import Provenance
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Cell, Content, Table, columns, estimate, metric_table

TITLE = "What is reordered"
RANK_LABELS = ("rank 1", "rank 2-10", "rank 11-200", "rank > 200")  # of the classes of `ByRank`


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table, written = ranks(study), provenance(study)
    if len(table.header) == 1 and not written:
        return None
    return {"table": table, "provenance": written}


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [ranks(study), provenance(study)]


def ranks(study: Study) -> Table:
    """How far the order of the vocabulary changed, of the models that are not sampled.

    Shares of ranks are of the arm's own greedy text, correlations are taken on human text.
    """
    shown = [
        (name, prefix)
        for name, prefix in columns(study, "ranks")
        if prefix is None or (prefix == "TF") == name.startswith("spearman")
    ]
    arms = [arm for arm in study.greedy if arm.name != "human"]
    return metric_table(study, "ranks", arms, shown)


def provenance(study: Study) -> Table:
    """Ranks in the original of what was written, beside those of human words."""
    found = study.explained.of(Provenance)
    texts = [("human", found[0].human)] if found else []
    texts += [(study.label(each.arm), each.written) for each in found]
    header = [("words of", ""), *((name, "share") for name in RANK_LABELS)]
    rows = [
        [Cell(name), *(estimate(share) for _, share in ranks.shares.items())]
        for name, ranks in texts
    ]
    return Table("provenance", header, rows)
