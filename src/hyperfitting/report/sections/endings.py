"""How texts end that may end themselves."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Content, Table, catalogue_table, number

TITLE = "How texts end"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = catalogue_table(study, "endings")
    if len(table.header) == 1:
        return None
    # Where an earlier version evaluated, the study's texts tell how its runs were trained.
    ours = [run for run in study.runs if run.method is not None]
    windows = {run.windows or study.info.data.windows for run in ours}
    taught = windows != {"fixed"}
    excluded = 300 / study.info.num_contexts  # per cent, at 95 %
    return {
        "table": table,
        "excluded": number(excluded, 0) if excluded < 100 else None,
        "never_taught": not taught,
    }


def tables(_study: Study) -> list[Table]:
    """None of its own: endings are columns of the table of all arms."""
    return []
