"""Write the report of a study: one page, its tables and its figures as files."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hyperfitting.config import ReportConfig
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.measure.text import type_token_ratio
from hyperfitting.progress import printable
from hyperfitting.records import PAPER_NAMES
from hyperfitting.report import figures, tables
from hyperfitting.report.load import Study, label, read_study
from hyperfitting.runs import StudyFolder
from hyperfitting.storage import write_text


def examples(study: Study, count: int) -> list[dict[str, Any]]:
    """The first `count` contexts with every arm's fixed-length continuation side by side."""
    by_arm = {
        arm: texts for (arm, mode), texts in study.generations.items() if mode == "fixed_length"
    }
    total = min(count, *(len(texts) for texts in by_arm.values()))
    shown = []
    for index in range(total):
        continuations = [
            {
                "arm": label(arm, study.arms),
                "text": printable(texts[index].continuation),
                "ending": texts[index].ending if arm[0] != "human" else "",
                "ttr": tables.number(type_token_ratio(texts[index].continuation_ids), 2),
            }
            for arm, texts in by_arm.items()
        ]
        context = next(iter(by_arm.values()))[index].context
        shown.append({"context": printable(context), "continuations": continuations})
    return shown


def _write_files(folder: StudyFolder, study: Study) -> dict[str, str]:
    """Tables in every format and figures as PNG and PDF; returns the figures as SVG."""
    tests = tables.test_rows(study.tests, study.info["evaluate"]["confidence"])
    for name, rows in (("arms", tables.arm_rows(study)), ("tests", tests)):
        for ending, render in tables.FORMATS.items():
            write_text(folder.tables / f"{name}.{ending}", render(rows))
    drawn = {
        "training_curves": (figures.training_curves(study), "Training curves of every arm"),
        "diversity": (figures.diversity(study), "Diversity of every arm with intervals"),
    }
    folder.figures.mkdir(parents=True, exist_ok=True)
    svgs = {}
    for name, (figure, title) in drawn.items():
        if figure is None:
            continue
        figure.savefig(folder.figures / f"{name}.png", dpi=160)
        figure.savefig(folder.figures / f"{name}.pdf", metadata={"CreationDate": None})
        svgs[name] = figures.to_svg(figure, title)
    return svgs


def _table(study: Study, table: str) -> dict[str, Any]:
    """Metrics and, for every arm, its cells."""
    names = tables.shown_metrics(study, table)
    return {
        "metrics": [METRICS[name] for name in names],
        "arms": [
            (label(arm, study.arms), [tables.cell(study.cell(arm, name)) for name in names])
            for arm in study.arms
        ],
    }


def write_report(folder: StudyFolder, config: ReportConfig) -> None:
    """Write `report/` of an evaluated folder from its files alone.

    Raises:
        InputError: the folder was not evaluated, or its files are damaged.
    """
    study = read_study(folder)
    svgs = _write_files(folder, study)
    environment = Environment(
        loader=PackageLoader("hyperfitting.report"),
        autoescape=True,  # whatever a model writes is untrusted
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        info=study.info,
        results=_table(study, "main"),
        endings=_table(study, "endings"),
        paper_names=PAPER_NAMES,
        tests=tables.test_rows(study.tests, study.info["evaluate"]["confidence"]),
        svgs=svgs,
        monitor_contexts=next(
            (row.num_contexts for rows in study.curves.values() for row in rows), 0
        ),
        examples=examples(study, config.num_examples),
        one_seed=all(arm[0] == label(arm, study.arms) for arm in study.arms),
        plateau=any(run["stopped_by"] == "ttr_plateau" for run in study.info["runs"]),
        level=f"{study.info['evaluate']['confidence']:.0%}",
    )
    write_text(folder.report_file, page)
