"""The same models on the texts of other sources."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.report.load import Study
from hyperfitting.report.sections.certainty import losses_in_words
from hyperfitting.report.tables import Cell, Content, Table, cell, metric_label

TITLE = "On other texts"
DOMAIN_METRICS = (
    "ttr", "bigram_repetition", "coherence_original_nats", "nonwords", "mauve",
    "delta_dim_block_output", "delta_dim_post_final_norm",
)  # fmt: skip
SHORT = {
    "delta_dim_block_output": "dimensions, last block",
    "delta_dim_post_final_norm": "dimensions, final norm",
}


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = domains(study)
    return {"table": table, "losses": losses_in_words(study)} if table else None


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [domains(study)]


def domains(study: Study) -> Table:
    """The same models on every set of texts (layout of the paper's Table 6); empty for one."""
    if not study.elsewhere:
        return Table("domains", [], [])
    places = [study, *(study.on(domain) for domain in study.elsewhere)]
    names = [study.domain, *study.elsewhere]
    columns = [
        (place, name, metric)
        for place, name in zip(places, names, strict=True)
        for metric in DOMAIN_METRICS
        if any(place.has(arm, metric) for arm in study.greedy)
    ]
    header = [("arm", "")]
    header += [(SHORT.get(metric, metric_label(metric)), name) for _, name, metric in columns]
    rows = [
        [Cell(study.label(arm)), *(cell(place.cell(arm, metric)) for place, _, metric in columns)]
        for arm in study.greedy
    ]
    return Table("domains", header, rows)
