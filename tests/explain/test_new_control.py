"""A control and its section are added through the tables alone: CONTROLS, RECORDS, SECTIONS."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from jinja2 import ChoiceLoader, DictLoader

from hyperfitting.config import ReportConfig
from hyperfitting.errors import InputError
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain.controls import CONTROLS, Control
from hyperfitting.explain.verb import write_explanation
from hyperfitting.progress import Progress
from hyperfitting.records.controls import RECORDS
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.record import OfArm
from hyperfitting.report import verb
from hyperfitting.report.page import SECTIONS
from hyperfitting.report.tables import Cell, Table, estimate
from hyperfitting.runs import StudyFolder
from tests.comparing import EVALUATE, NO_SWAP, comparison, dataset, with_bias
from tests.sealing import reseal, rewrite
from tests.tiny import save_tiny

COUNT, SIZE = 4, 6.0


class Shouting(OfArm):
    """By how much the largest logit of each context rises."""

    rise: MeanEstimate
    num_layers: int


class Loudest:
    """Keeps how much the largest logit rises in each context."""

    def __init__(self, ahead):
        self.rise_N = np.zeros(ahead.num_contexts)

    def __call__(self, found, scores):
        self.rise_N[found.row] = float(found.tuned_KV.max() - found.original_KV.max())


class Layers:
    """Counts the layers that pass."""

    def __init__(self):
        self.count = 0

    def __call__(self, states):
        self.count += not states.is_normed


def shouting(subject):
    return Shouting(
        arm=subject.arm,
        rise=subject.interval(subject.saw(Loudest).rise_N),
        num_layers=subject.saw(Layers).count,
    )


def table(study):
    rows = [
        [Cell(study.label(found.arm)), estimate(found.rise, 2)]
        for found in study.explained.of(Shouting)
    ]
    return Table("shouting", [("arm", ""), ("rise", "logits")], rows)


SECTION = SimpleNamespace(
    TITLE="Is it louder?",
    content=lambda study, svgs, config: {"table": table(study)} if table(study) else None,
    tables=lambda study: [table(study)],
)
TEMPLATE = """{% from "macros.html.j2" import table with context %}
{{ table(section.table) }}<p>Louder by {{ section.table.rows[0][1].value }}.</p>"""


@pytest.fixture
def added(monkeypatch):
    """The three lines and the template."""
    control = Control(shouting, layers=lambda _: Layers(), logits=Loudest)
    monkeypatch.setitem(CONTROLS, "shouting", control)
    monkeypatch.setitem(RECORDS, "shouting", Shouting)
    monkeypatch.setitem(SECTIONS, "shouting", SECTION)
    templates = verb._templates()
    own = DictLoader({"sections/shouting.html.j2": TEMPLATE})
    monkeypatch.setattr(templates, "loader", ChoiceLoader([templates.loader, own]))


def explained_study(folder):
    compared = comparison(
        save_tiny(folder / "model"), lambda: with_bias(77, SIZE), data=dataset(COUNT)
    )
    compared.data.update(windows="documents", context_tokens=6, continuation_tokens=10)
    study = StudyFolder(folder / "study")
    evaluate(compared, EVALUATE, study.path)
    write_explanation(study, compared, NO_SWAP, Progress())
    return study


def test_a_control_added_by_its_lines_runs_is_written_and_has_its_section(
    added, tmp_path, monkeypatch
):
    study = explained_study(tmp_path)
    file = json.loads(study.explain_file("shouting").read_text())
    assert (file["version"], file["num_contexts"]) == (2, COUNT)
    [entry] = file["arms"]
    assert (entry["arm"], entry["num_layers"], entry["rise"]["n"]) == ("tuned", 4, COUNT)
    assert 0 < entry["rise"]["mean"] <= SIZE, "the bias of one token raises the largest logit"
    monkeypatch.setattr(verb, "FIGURES", {})
    verb.report(study.path, ReportConfig())
    page = study.report_file.read_text()
    shown = page.split('<section id="shouting">')[1].split("</section>")[0]
    assert "<h2>Is it louder?</h2>" in shown
    assert f"<p>Louder by {entry['rise']['mean']:.2f}.</p>" in shown
    assert '<a href="#shouting">' in page
    assert (study.tables / "shouting.csv").read_text().startswith("arm,rise (logits)\ntuned,")
    # The others are as they are without it.
    assert {path.stem for path in study.explained_files()} == {*RECORDS} - {
        "block_swap", "single_blocks", "rotation",
    }  # fmt: skip

    del entry["rise"]["n"]
    rewrite(study.explain_file("shouting"), lambda _: file)
    reseal(study.path)
    with pytest.raises(InputError, match=r"arms\[0\]\.rise\.n is missing"):
        verb.report(study.path, ReportConfig())


def test_every_control_has_its_record_and_every_section_its_template():
    assert set(CONTROLS) == set(RECORDS)
    templates = {
        name.removeprefix("sections/").removesuffix(".html.j2")
        for name in verb._templates().list_templates()
        if name.startswith("sections/")
    }
    assert templates == set(SECTIONS)
    for name, section in SECTIONS.items():
        assert section.__name__ == f"hyperfitting.report.sections.{name}"
