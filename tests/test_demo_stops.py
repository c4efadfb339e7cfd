"""A demo that cannot end is refused before it trains; one that is stopped says what goes on."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hyperfitting.demo
from hyperfitting.cli.main import app
from hyperfitting.compare.subject import Runs, new_study, study_to_explain
from hyperfitting.config import ExplainConfig
from hyperfitting.config.layers import build, read_overrides
from hyperfitting.config.presets import DEMO_DEFAULTS
from hyperfitting.errors import InterruptedRunError
from hyperfitting.models import anatomy
from hyperfitting.records.record import write_file
from hyperfitting.runs import RunFolder, StudyFolder
from hyperfitting.storage import write_json
from tests.manifests import manifest

ARMS = ["hyperfitted", "full_lora", "late_stage_lora"]


def stop(*_args, **_options):
    raise KeyboardInterrupt


def demo(out, *settings):
    return CliRunner().invoke(app, ["demo", "--out", str(out), *settings])


@pytest.fixture
def staged(monkeypatch):
    """A demo whose stages are done at once and leave what `compare` looks at."""

    def train(_config, out, *_args, **_options):
        write_file(RunFolder(out).manifest_file, manifest())

    def evaluate(_folders, _config, out, *_args):
        entries = [
            {"arm": a, "seed": 0, "parameters": {}, "path": f"runs/{a}-seed-0"} for a in ARMS
        ]
        write_json(StudyFolder(out).study_file, {"runs": entries})

    fakes = {"train": train, "evaluate": evaluate, "explain": stop, "report": stop}
    for name, fake in (*fakes.items(), ("read_dataset", lambda *_: None)):
        monkeypatch.setattr(hyperfitting.demo, name, fake)
    return monkeypatch


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["explain.swap_blocks=[0, 99]"], "explain.swap_blocks holds 99, the model has"),
        (["explain.swap_blocks=[999]"], "explain.swap_blocks holds 999, the model has"),
        (["evaluate.mauve_seeds=9"], "mauve_seeds=9 is given without"),
        (["evaluate.natural_tokens=0", "data.continuation_tokens=99999"], "tokens are asked for"),
    ],
)
def test_settings_of_later_stages_are_checked_before_anything_is_trained(
    settings, words, staged, tmp_path
):
    result = demo(tmp_path / "out", *settings)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_no_control_knows_is_refused_before_it_is_trained(staged, tmp_path):
    staged.setattr(anatomy, "FAMILIES", {})
    result = demo(tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert "cannot be told apart" in result.stderr
    assert not (tmp_path / "out").exists()
    result = demo(tmp_path / "out", "explained=[]")  # no control is asked for
    assert result.exit_code == 130, result.output


def said(result):
    """The commands that the message names."""
    assert result.exit_code == 130, result.output
    return re.findall(r"(?:continue with|then): (hyperfit .*)", result.stderr)


def test_a_training_that_is_stopped_names_what_finishes_the_study(staged, tmp_path):
    out = tmp_path / "out"
    whole = hyperfitting.demo.train

    def train(config, run, *args, **options):
        whole(config, run)
        if "full_lora" in str(run):
            raise InterruptedRunError(7, run)

    staged.setattr(hyperfitting.demo, "train", train)
    result = demo(out)
    run = out / "runs" / "full_lora-seed-0"
    resume, evaluate = (
        f"hyperfit train --resume --out {run}",
        f"hyperfit evaluate {out}/runs/* --out {out}",
    )
    assert said(result) == [resume, evaluate]
    assert f"the run in {run} is saved after step 7" in result.stderr
    waiting = "late_stage_lora, hyperfitted (null=shuffled);"
    assert f"not begun, and not added by that: {waiting}" in result.stderr
    runs = sorted((out / "runs").iterdir())
    assert new_study(Runs(folders=runs), out).path == out, "what is said is true"


def test_a_training_that_is_stopped_before_its_first_checkpoint(staged, tmp_path):
    whole = hyperfitting.demo.train

    def train(config, run, *args, **options):
        if "full_lora" in str(run):
            stop()
        whole(config, run)

    staged.setattr(hyperfitting.demo, "train", train)
    out = tmp_path / "out"
    result = demo(out)
    assert said(result) == [f"hyperfit evaluate {out}/runs/* --out {out}"]
    waiting = "full_lora, late_stage_lora, hyperfitted (null=shuffled);"
    assert f"not begun, and not added by that: {waiting}" in result.stderr
    staged.setattr(hyperfitting.demo, "train", stop)
    assert said(demo(tmp_path / "nothing")) == []


@pytest.mark.parametrize("is_half_written", [False, True])
def test_an_evaluation_that_is_stopped(is_half_written, staged, tmp_path):
    out = tmp_path / "out"

    def evaluate(*_args):
        if is_half_written:
            StudyFolder(out).generations.mkdir()
        stop()

    staged.setattr(hyperfitting.demo, "evaluate", evaluate)
    commands = said(demo(out))
    place = Path(f"{out}-evaluated") if is_half_written else out
    assert commands == [
        f"hyperfit evaluate {out}/runs/* --out {place}",
        f"hyperfit explain {place}",
    ]
    assert new_study(Runs(folders=sorted((out / "runs").iterdir())), place).path == place


def test_tasks_that_are_stopped(staged, tmp_path):
    whole = hyperfitting.demo.evaluate

    def evaluate(*args):
        whole(*args)
        stop()

    staged.setattr(hyperfitting.demo, "evaluate", evaluate)
    out = tmp_path / "out"
    assert said(demo(out)) == [f"hyperfit evaluate {out}", f"hyperfit explain {out}"]
    assert new_study(Runs(folders=(out,)), None).path == out


@pytest.mark.parametrize("stage", ["explain", "report"])
def test_a_later_stage_that_is_stopped(stage, staged, tmp_path):
    out = tmp_path / "out"
    if stage == "report":
        staged.setattr(hyperfitting.demo, "explain", lambda *_, **__: None)
    [command] = said(demo(out))
    program, verb, folder, *settings = shlex.split(command)
    assert (program, verb, folder) == ("hyperfit", stage, str(out))
    if stage == "explain":  # with its settings, or nothing that was found could be used again
        again = build(ExplainConfig, [read_overrides(settings)]).config
        assert again == ExplainConfig(**DEMO_DEFAULTS["explain"])
    else:
        assert not settings
    assert study_to_explain(Runs(folders=(out,)), None).path == out
