"""Write the report of a study: one page, its tables and its figures as files."""

import base64
from collections.abc import Callable, Mapping
from functools import cache, partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from hyperfitting.config import ReportConfig
from hyperfitting.faults import writing
from hyperfitting.progress import Progress
from hyperfitting.report.figures import front, layers, lens, ranks, text, training
from hyperfitting.report.figures.style import to_files, to_svg
from hyperfitting.report.formats import FORMATS
from hyperfitting.report.load import Study, read_study, require_evaluated
from hyperfitting.report.page import sections, tables
from hyperfitting.report.tables import Table, number
from hyperfitting.runs import StudyFolder
from hyperfitting.storage import write_text
from hyperfitting.untrusted import printable
from hyperfitting.writable import require_writable

FIGURES: dict[str, tuple[Callable[[Study], Figure | None], str]] = {
    "diversity": (text.diversity, "Diversity of every arm with intervals"),
    "training_curves": (training.training_curves, "Training curves of every run"),
    "sharpness": (text.sharpness, "Diversity against entropy of every arm and its controls"),
    "front": (front.front, "Variety against quality of every arm, and the front"),
    "provenance": (ranks.provenance, "Ranks in the original of written and of human words"),
    "geometry": (layers.geometry, "Difference of hidden states, layer by layer"),
    "lens": (lens.lens, "At which layer promoted words come up"),
    "block_swap": (layers.block_swap, "Diversity of models put together from both"),
}
# Drawn once more for the page on a phone, where its wide form would have to be scrolled.
NARROW = {"diversity": partial(text.diversity, narrow=True)}


def write_table(folder: Path, table: Table) -> None:
    """A table in every format; one without rows is not there."""
    for ending, render in FORMATS.items():
        path = folder / f"{table.name}.{ending}"
        if table:
            write_text(path, render(table.lines()))
        else:
            path.unlink(missing_ok=True)  # of an earlier report, which had data


def _write_files(folder: StudyFolder, study: Study) -> dict[str, str]:
    """Tables in every format and figures as PNG and PDF; returns the figures as SVG."""
    for table in tables(study):
        write_table(folder.tables, table)
    folder.figures.mkdir(parents=True, exist_ok=True)
    svgs = {}
    for name, (draw, title) in FIGURES.items():
        figure = draw(study)
        png, pdf = (folder.figures / f"{name}.{ending}" for ending in ("png", "pdf"))
        # Those of an earlier report, which had data, and links: nothing is written through one.
        png.unlink(missing_ok=True)
        pdf.unlink(missing_ok=True)
        if figure is None:
            continue
        with writing(folder.figures):
            svgs[name] = to_files(figure, title, png, pdf)
        if name in NARROW:
            svgs[f"{name}_narrow"] = to_svg(NARROW[name](study), title)
    return svgs


def _clean(value: Any) -> Any:
    """What a template prints, without control characters; markup of ours is left alone."""
    is_plain = isinstance(value, str) and not hasattr(value, "__html__")
    return printable(value) if is_plain else value


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("hyperfitting.report"),
        autoescape=True,  # whatever a model writes is untrusted
        finalize=_clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_template(name: str, content: Mapping[str, Any]) -> str:
    """A page of ours that is no study's."""
    return _templates().get_template(name).render(content)


@cache
def viewer_script() -> str:
    """The page's only script."""
    return files("hyperfitting.report").joinpath("templates/viewer.js").read_text("utf-8")


def render_page(study: Study, svgs: Mapping[str, str], config: ReportConfig) -> str:
    """The page of a study as HTML; figures that are not given are absent."""
    evaluate = study.info.evaluate
    script = viewer_script()
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            info=study.info,
            title=study.title,
            sections=sections(study, svgs, config),
            svgs=svgs,
            script=Markup(script),  # ours
            script_digest=base64.b64encode(sha256(script.encode()).digest()).decode(),
            level=f"{evaluate.confidence:.0%}",
            resamples=number(evaluate.resamples, 0),
        )
    )


def report(
    given: str | Path, config: ReportConfig | None = None, progress: Progress | None = None
) -> StudyFolder:
    """Write `report/` of an evaluated run or study from its files alone.

    Raises:
        InputError: the folder was not evaluated yet, or its files are damaged.
    """
    folder, config = StudyFolder(Path(given)), config or ReportConfig()
    progress = progress or Progress()
    folder.require_own()
    require_evaluated(folder)
    require_writable(folder.path)
    with folder.writing(), progress.stage("report") as stage:
        study = read_study(folder)
        for line in study.left_out:
            progress.say(f"  {line}")
        write_text(folder.report_file, render_page(study, _write_files(folder, study), config))
        stage.update(1, str(folder.report_file))
    return folder
