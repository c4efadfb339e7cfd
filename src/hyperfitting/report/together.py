"""Several studies on one page: every greedy arm below each other, a verdict and a link each."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from hyperfitting.config import ReportConfig
from hyperfitting.errors import InputError
from hyperfitting.progress import Progress
from hyperfitting.report.load import Study, read_study, require_evaluated
from hyperfitting.report.sections import verdict
from hyperfitting.report.tables import Cell, Table, cell, metric_label
from hyperfitting.report.verb import render_template, report, write_table
from hyperfitting.runs import GridFolder, StudyFolder
from hyperfitting.storage import write_text
from hyperfitting.writable import require_writable

METRICS = (
    "ttr", "bigram_repetition", "looped_rate", "nonwords", "coherence_original_nats", "val_ppl",
)  # fmt: skip


def report_together(
    given: Sequence[str | Path],
    config: ReportConfig | None,
    out: str | Path,
    progress: Progress | None = None,
) -> GridFolder:
    """Write one page of several evaluated studies to `out`, which may hold them.

    With a `config` each study's own report is written first; without, it stays as it is.

    Raises:
        InputError: one was not evaluated yet, or its files are damaged; or none is given.
    """
    progress, folder = progress or Progress(), GridFolder(Path(out))
    if not given:
        raise InputError("no study is given", needed="folders that were evaluated")
    require_writable(folder.path)
    studies = {}
    for each in map(Path, given):
        require_evaluated(StudyFolder(each))
        studies[each] = read_study(StudyFolder(each))
    if config is not None:
        for each in studies:
            report(each, config, progress)
    with progress.stage("report of all studies") as stage:
        table = beside(list(studies.values()))
        write_table(folder.tables, table)
        entries = [_entry(path, study, folder) for path, study in studies.items()]
        page = render_template("together.html.j2", {"entries": entries, "table_content": table})
        write_text(folder.report_file, page)
        stage.update(len(studies), str(folder.report_file))
    return folder


def beside(studies: Sequence[Study]) -> Table:
    """The human text, the original and every tuned arm of all studies, one row each."""
    header = [("model", ""), ("texts", ""), ("arm", ""), ("trainings", "")]
    header += [(metric_label(metric), "") for metric in METRICS]
    rows = [
        [
            Cell(study.info.model.name),
            Cell(study.domain),
            Cell(study.label(arm)),
            Cell(str(study.num_seeds.get(arm, 1)) if arm.is_tuned else ""),
            *(cell(study.cell(arm, metric)) for metric in METRICS),
        ]
        for study in studies
        for arm in study.greedy
    ]
    return Table("together", header, rows)


def _entry(path: Path, study: Study, folder: GridFolder) -> Mapping[str, object]:
    """What the page says of one study, and where its own page lies seen from there."""
    arm = study.first
    own = os.path.relpath(StudyFolder(path).report_file, folder.report_file.parent)
    return {
        "title": study.title,
        "href": quote(Path(own).as_posix()) if StudyFolder(path).report_file.exists() else None,
        "sentences": verdict.sentences(study, arm) if arm else [],
        "advice": verdict.advice(study, arm) if arm else [],
    }
