"""What CONTRIBUTING.md promises: a new method, decoder or control is a file and a table's line.

Each test adds one that does not ship, in the documented places only, and follows it to the help,
the files and the page.
"""

import json
import subprocess
import sys
from dataclasses import dataclass

import torch

from hyperfitting.config.methods import METHODS, Method
from hyperfitting.generate.decoders import DECODERS, Decoder, Parameter
from hyperfitting.records import Arm
from hyperfitting.report.figures.style import Look, look
from hyperfitting.train.methods import SET_UP, trained_blocks
from hyperfitting.train.trainable import account
from tests.cli.test_cli import hyperfit, train

QUICK = ("natural_tokens=0", "sampling_seeds=1", "resamples=100")


def help_with(line, verb):
    """What `hyperfit VERB --help` prints where a table has one line more."""
    code = f"{line}\nimport sys\nfrom hyperfitting.cli.main import app\napp(sys.argv[1:])"
    command = [sys.executable, "-c", code, verb, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return " ".join(shown.split())


def train_norms(model, method, config):
    """The norms inside the method's blocks."""
    indices, blocks = trained_blocks(model, method, config)
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        inside = any(name.startswith(f"{block}.") for block in blocks)
        parameter.requires_grad_(inside and "norm" in name)
    return account(model, indices, has_adapter=False, rate=config.learning_rate)


def test_a_method_is_a_line_and_a_function(monkeypatch, model_folder, texts_file, tmp_path):
    method = Method(
        arm="last_norms", label="the norms of the last blocks", trains="norms",
        blocks=lambda count, k: range(count - k, count), setting="last_blocks", is_late=True,
        defaults={"train": {"epochs": 2}}, colour="#123456", marker="h",
    )  # fmt: skip
    line = (
        "from hyperfitting.config.methods import METHODS, Method\n"
        "METHODS['last_norm_sft'] = Method(arm='a', label='the norms of the last blocks', "
        "trains='norms', blocks=range, setting='last_blocks')"
    )
    shown = help_with(line, "train")
    assert "last_norm_sft (the norms of the last blocks)" in shown
    assert "late_stage_sft, last_norm_sft." in shown  # --last-blocks

    monkeypatch.setitem(METHODS, "last_norm_sft", method)
    monkeypatch.setitem(SET_UP, "norms", train_norms)
    run = tmp_path / "run"
    common = ("train.last_blocks=1", "train.learning_rate=0.1")
    result = train(model_folder, texts_file, run, *common, method="last_norm_sft")
    assert result.exit_code == 0, result.output
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["arm"] == "last_norms"
    assert manifest["config_sources"]["train.last_blocks"] == "override"
    trained = manifest["trainable"]["names"]
    assert len(trained) == 2
    assert all("norm" in name for name in trained)
    assert manifest["training"]["steps"] > 0
    assert "prefix" in result.output  # what enters these blocks is computed once

    for key in ("train.lora.rank=4", "train.first_blocks=1"):
        refused = train(model_folder, texts_file, tmp_path / "no", key, method="last_norm_sft")
        assert refused.exit_code == 2
        assert "does not apply to last_norm_sft" in refused.output
    refused = train(model_folder, texts_file, tmp_path / "no", method="no")
    assert "late_stage_sft, last_norm_sft\n" in refused.output

    assert hyperfit("evaluate", run, *QUICK).exit_code == 0
    page = (run / "report" / "report.html").read_text()
    assert "last_norms" in page
    assert "#123456" in page
    assert look(Arm("last_norms", 0)) == Look("#123456", "h", "-", False)


@dataclass
class EveryNth:
    """The n-th most probable token."""

    n: int

    def __call__(self, logits_BV, rows, step, seen_BT):
        token_B = logits_BV.topk(self.n, dim=-1).indices[:, -1]
        return token_B, torch.zeros_like(token_B, dtype=torch.bool)


def test_a_decoder_is_a_line_and_a_file(monkeypatch, model_folder, texts_file, tmp_path):
    number = Parameter(name="n", default=2, low=1, has_low=True, is_integer=True, meaning="place")
    decoder = Decoder(
        kind="chooser", parameters=(number,), is_deterministic=True,
        work=f"{__name__}:EveryNth", rule="the n-th most probable", source="a test",
    )  # fmt: skip
    line = (
        "from hyperfitting.generate.decoders import DECODERS\nDECODERS['nth'] = DECODERS['greedy']"
    )
    assert "top_h, nth." in help_with(line, "generate")

    monkeypatch.setitem(DECODERS, "nth", decoder)

    def text(decoder):
        options = ("--prompt", "abc", "--decoder", decoder, "max_new_tokens=6", "--json")
        result = hyperfit("generate", model_folder, *options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["texts"][0]["token_ids"]

    assert text("nth:1") == text("greedy")
    assert text("nth")[0] != text("greedy")[0]
    assert text("nth") == text("nth:2")
    refused = hyperfit("generate", model_folder, "--prompt", "abc", "--decoder", "nth:0")
    assert "needed: a whole number in [1, inf) (place)" in refused.output

    run = tmp_path / "run"
    assert train(model_folder, texts_file, run).exit_code == 0
    assert hyperfit("evaluate", run, "--decoders", "nth", *QUICK).exit_code == 0
    found = json.loads((run / "measurements.json").read_text())
    assert "original+nth" in json.dumps(found)
    assert "original+nth (n=2)" in (run / "report" / "report.html").read_text()

"""A control and its section are added through the tables alone: CONTROLS, RECORDS, SECTIONS."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from jinja2 import ChoiceLoader, DictLoader

from hyperfitting.config import ReportConfig
from hyperfitting.errors import InputError
from hyperfitting.evaluate.write import write_study
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
from tests.report.small import ACCOUNT
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
    compared.dataset.account.update(dict.fromkeys(ACCOUNT, 0))
    study = StudyFolder(folder / "study")
    write_study(study, compared, EVALUATE, Progress())
    write_explanation(study, compared, NO_SWAP, Progress())
    return study


def test_a_control_added_by_its_lines_runs_is_written_and_has_its_section(
    added, tmp_path, monkeypatch
):
    study = explained_study(tmp_path)
    file = json.loads(study.explain_file("shouting").read_text())
    assert (file["version"], file["num_contexts"]) == (1, COUNT)
    [entry] = file["arms"]
    assert (entry["arm"], entry["num_layers"], entry["rise"]["n"]) == ("tuned", 4, COUNT)
    assert 0 < entry["rise"]["mean"] <= SIZE, "the bias of one token raises the largest logit"
    monkeypatch.setattr(verb, "FIGURES", {})
    verb.write_report(study, ReportConfig())
    page = study.report_file.read_text()
    shown = page.split('<section id="shouting">')[1].split("</section>")[0]
    assert "<h2>Is it louder?</h2>" in shown
    assert f"<p>Louder by {entry['rise']['mean']:.2f}.</p>" in shown
    assert '<a href="#shouting">' in page
    assert (study.tables / "shouting.csv").read_text().startswith("arm,rise (logits)\ntuned,")
    # The others are as they are without it.
    assert {path.stem for path in study.explain.iterdir()} == {*RECORDS} - {"block_swap"}

    del entry["rise"]["n"]
    study.explain_file("shouting").write_text(json.dumps(file))
    with pytest.raises(InputError, match=r"arms\[0\]\.rise\.n is missing"):
        verb.write_report(study, ReportConfig())


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
