"""A plan on a tiny model, killed and gone on with: nothing is done twice, faults are named."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from hyperfitting.cli.main import app
from hyperfitting.compare.subject import Runs, new_study
from hyperfitting.config.judge import JudgeConfig
from hyperfitting.config.layers import Layer, flatten
from hyperfitting.config.plan import cells, resolve_plan
from hyperfitting.errors import InputError, UnfinishedGridError
from hyperfitting.progress import Progress
from hyperfitting.records.record import write_file
from hyperfitting.report.load import read_study
from hyperfitting.runs import GridFolder, RunFolder, StudyFolder
from hyperfitting.seals import files_of
from hyperfitting.storage import write_json
from hyperfitting.study import steps
from hyperfitting.study.steps import Step, _judgement, _was_asked, steps_of
from hyperfitting.verbs import study
from tests.judge.serving import serving, verdict
from tests.manifests import manifest
from tests.report.planted import plant
from tests.sealing import rewrite

CELL = "{}--texts.jsonl"


class Said(Progress):
    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    @property
    def begun(self):
        return [line.partition(": ")[2] for line in self.lines if line.startswith("[")]


def settings_of(model, texts, **more):
    return {
        "models": [str(model)],
        "sources": [str(texts)],
        "methods": ["late_stage_lora"],
        "seeds": [0, 1],
        "explained": ["late_stage_lora"],
        "data": {"window_tokens": 24, "context_tokens": 8, "continuation_tokens": 8,
                 "num_heldout": 4, "num_train": 8},
        "train": {"epochs": 100, "batch_size": 2, "last_blocks": 1, "compile": "off"},
        "monitor": {"num_contexts": 2, "num_windows": 2, "every_epochs": 100},
        "evaluate": {"natural_tokens": 0, "sampling_seeds": 0, "resamples": 100},
        "explain": {"only": ["provenance"], "resamples": 100},
        "report": {"num_examples": 3},
        **more,
    }  # fmt: skip


def plan_of(*args, **more):
    return resolve_plan([Layer("plan", flatten(settings_of(*args, **more)))])


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def grid(model_folder, texts_file, tmp_path_factory):
    """A study that was killed in its first training and gone on with, and what that said."""
    folder = tmp_path_factory.mktemp("study")
    plan = folder / "plan.yaml"
    plan.write_text(json.dumps(settings_of(model_folder, texts_file)))
    out = GridFolder(folder / "grid")
    cell = StudyFolder(out.path / CELL.format(model_folder.name.lower()))
    first = RunFolder(cell.runs / "late_stage_lora-seed-0")
    command = [sys.executable, "-m", "hyperfitting", "study", str(plan), "--out", str(out.path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as killed:
        wait_until(first.metrics_file.exists)  # the original was measured: now it trains
        time.sleep(0.1)
        os.kill(killed.pid, signal.SIGKILL)
    wait_until(lambda: list(first.checkpoints.glob("step-*/COMPLETE.json")))  # it heard of it
    steps = [int(path.name.split("-")[1]) for path in first.checkpoints.glob("step-*")]
    assert max(steps) < 400
    said = Said()
    study(plan_of(model_folder, texts_file), out.path, said)
    return out, cell, said


def test_a_killed_study_goes_on_where_it_was(grid):
    out, cell, said = grid
    assert said.begun == [
        "train late_stage_lora-seed-0",
        "train late_stage_lora-seed-1",
        "evaluate",
        "explain",
    ]
    steps = out.grid().steps
    assert [step.state for step in steps] == ["done"] * 4
    page = out.report_file.read_text()
    assert f"../{cell.path.name}/report/report.html" in page
    assert "The first 3 held-out contexts, not chosen" in cell.report_file.read_text()
    assert steps[0].command[:2] == ["train", "--resume"]
    assert steps[1].command[0] == "train"
    assert steps[1].command[1] != "--resume"
    for name in ("late_stage_lora-seed-0", "late_stage_lora-seed-1"):
        assert RunFolder(cell.runs / name).manifest().outcome.epochs == 100


def test_what_is_done_is_never_repeated(grid, model_folder, texts_file):
    out, cell, _ = grid
    before = {path: path.stat().st_mtime_ns for path in cell.path.rglob("*.json")}
    noted = out.grid().steps
    said = Said()
    study(plan_of(model_folder, texts_file), out.path, said)
    assert said.begun == []
    assert {path: path.stat().st_mtime_ns for path in cell.path.rglob("*.json")} == before
    assert out.grid().steps == noted, "what a step took is kept"
    assert all(step.seconds and step.command for step in noted)


def test_a_plan_may_call_its_model_from_where_it_is_called(
    grid, model_folder, texts_file, monkeypatch
):
    out, _, _ = grid
    monkeypatch.chdir(model_folder.parent)
    said = Said()
    study(plan_of(f"./{model_folder.name}", texts_file), out.path, said)
    assert said.begun == []


def test_a_run_more_is_evaluated_by_the_same_command(grid, model_folder, texts_file, tmp_path):
    out, cell, _ = grid
    grown = GridFolder(tmp_path / "grid")
    shutil.copytree(out.path, grown.path)
    said = Said()
    study(plan_of(model_folder, texts_file, seeds=[0, 1, 2]), grown.path, said)
    assert said.begun == ["train late_stage_lora-seed-2", "evaluate"], "the controls stand"
    assert [step.state for step in grown.grid().steps] == ["done"] * 5
    again = StudyFolder(grown.path / cell.path.name)
    about = json.loads(again.study_file.read_text())
    assert [run["seed"] for run in about["runs"]] == [0, 1, 2]
    arms = {(run["arm"], str(run["parameters"])) for run in about["runs"]}
    assert len(arms) == 1, "three trainings of one arm"


def test_a_run_that_was_trained_anew_is_evaluated_again(grid, model_folder, texts_file, tmp_path):
    out, cell, _ = grid
    copy = tmp_path / "grid"
    shutil.copytree(out.path, copy)
    plan = plan_of(model_folder, texts_file)
    [prepared] = cells(plan)

    def waiting():
        return [step.name for step in steps_of(plan, prepared, copy) if not step.is_done()]

    assert waiting() == []
    run = RunFolder(copy / cell.path.name / "runs" / "late_stage_lora-seed-1")

    def trained_anew(content):
        content["training"]["seconds"] += 1
        return content

    rewrite(run.manifest_file, trained_anew)
    assert waiting() == ["evaluate"]


def test_controls_of_a_run_that_was_trained_anew_are_run_again_and_left_out_until_then(
    grid, model_folder, texts_file, tmp_path
):
    """The evaluation knows the new model, the controls an old one."""
    out, cell, _ = grid
    copy = tmp_path / "grid"
    shutil.copytree(out.path, copy)
    plan = plan_of(model_folder, texts_file)
    [prepared] = cells(plan)
    folder = StudyFolder(copy / cell.path.name)
    explained = next(s for s in steps_of(plan, prepared, copy) if s.name == "explain")
    assert explained.is_done()
    before = read_study(folder)
    assert before.explained.arms

    def other(content):
        for entry in content["runs"]:
            assert len(entry["digest"]) >= 16
            entry["digest"] = "0" * len(entry["digest"])
        return content

    rewrite(folder.study_file, other)
    assert not explained.is_done()
    after = read_study(folder)
    assert after.explained.arms == []
    [line] = [each for each in after.left_out if "another training" in each]
    assert "provenance.json" in line
    assert "run `hyperfit explain" in line
    assert after.curves.keys() == before.curves.keys() != set()


def test_curves_of_another_training_in_the_run_s_place_are_left_out(grid, tmp_path):
    """As where a study was copied beside other runs."""
    out, cell, _ = grid
    copy = tmp_path / "grid"
    shutil.copytree(out.path, copy)
    folder = StudyFolder(copy / cell.path.name)
    run = RunFolder(folder.runs / "late_stage_lora-seed-1")

    def trained_anew(content):
        content["training"]["seconds"] += 1
        return content

    rewrite(run.manifest_file, trained_anew)
    found = read_study(folder)
    assert [arm.seed for arm in found.curves] == [0]
    [line] = [each for each in found.left_out if str(run.path) in each]
    assert "is another training than was evaluated" in line


def test_a_damaged_note_of_the_steps_costs_no_step(grid, model_folder, texts_file):
    out, _, _ = grid
    whole = out.grid_file.read_text()
    out.grid_file.write_text(whole[:-20])
    said = Said()
    study(plan_of(model_folder, texts_file), out.path, said)
    assert said.begun == []
    assert {step.seconds for step in out.grid().steps} == {None}
    out.grid_file.write_text(whole)


def test_the_states_that_enter_the_trained_blocks_are_computed_once(grid):
    _, cell, _ = grid
    caches = [path for path in cell.prefix_cache.iterdir() if path.is_dir()]
    about = [json.loads((path / "COMPLETE.json").read_text()) for path in caches if
             (path / "COMPLETE.json").exists()]  # fmt: skip
    assert len(about) == len({str(each) for each in about}) == 1


def test_trainings_of_one_cell_write_the_same_day_and_consent_is_given_again(
    grid, model_folder, texts_file
):
    """A template that writes today's date would part the runs of two days."""
    _, cell, _ = grid
    plan = plan_of(model_folder, texts_file, seeds=[0, 1, 2])
    [planned] = cells(plan)
    runs = []
    for run in planned.runs:
        model = run.config.model.model_copy(update={"trust_remote_code": True})
        runs.append(replace(run, config=run.config.model_copy(update={"model": model})))
    planned = replace(planned, runs=tuple(runs))
    manifest = RunFolder(cell.runs / planned.runs[1].folder).manifest_file
    kept = manifest.read_text()
    rewrite(manifest, lambda content: content | {"template_date": "2026-01-10"})
    try:
        train = {run.folder: steps._training(cell, planned, run) for run in planned.runs}
        first, second, third = (step.command() for step in train.values())
        assert first[:2] == second[:2] == ["train", "--resume"]
        assert first[-1] == second[-1] == "--trust-remote-code"
        assert "data.template_date=2026-01-10" in third
        day = flatten(planned.runs[2].config.model_dump(mode="json"))
        trained = day | {"data.template_date": "2026-01-10"}
        steps._require_same(cell.path, trained, planned.runs[2].config)
    finally:
        manifest.write_text(kept)


def test_a_run_with_other_settings_is_not_taken_for_the_planned_one(grid, model_folder, texts_file):
    out, _, _ = grid
    train = {"epochs": 9, "batch_size": 2, "last_blocks": 1, "compile": "off"}
    changed = plan_of(model_folder, texts_file, train=train)
    with pytest.raises(InputError, match=r"was trained with train.epochs=100, the plan has 9"):
        study(changed, out.path)


def test_a_model_that_cannot_be_had_leaves_the_others_and_is_named(
    grid, model_folder, texts_file, tmp_path
):
    out, _, _ = grid
    missing = tmp_path / "none"
    said = Said()
    plan = plan_of(model_folder, texts_file, models=[str(model_folder), str(missing)], parallel=2)
    with pytest.raises(UnfinishedGridError) as failed:
        study(plan, out.path, said)
    assert failed.value.exit_code == 2
    assert f"the model folder {missing} does not exist" in str(failed.value)
    assert "train late_stage_lora-seed-0, train late_stage_lora-seed-1" in str(failed.value)
    states = {(step.cell, step.name): step.state for step in out.grid().steps}
    assert list(states.values()) == ["done"] * 4 + ["failed"] * 2 + ["skipped"] * 2


def test_a_folder_of_something_else_is_refused(tmp_path, model_folder, texts_file):
    write_json(tmp_path / "mine" / "other.json", {})
    with pytest.raises(InputError, match="holds other files"):
        study(plan_of(model_folder, texts_file), tmp_path / "mine")


def test_a_dry_run_shows_what_is_missing_and_writes_nothing(tmp_path, model_folder, texts_file):
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps(settings_of(model_folder, texts_file)))
    out = tmp_path / "grid"
    shown = CliRunner().invoke(app, ["study", str(plan), "--out", str(out), "--dry-run", "--json"])
    assert shown.exit_code == 0, shown.output
    steps = json.loads(shown.stdout)["steps"]
    assert [step["step"] for step in steps] == [
        "train late_stage_lora-seed-0", "train late_stage_lora-seed-1", "evaluate", "explain",
    ]  # fmt: skip
    assert all(step["seconds"] > 0 for step in steps)
    assert steps[2]["command"] is None  # there is no run yet that could be evaluated
    table = CliRunner().invoke(app, ["study", str(plan), "--out", str(out), "--dry-run"])
    assert "4 steps, about" in table.stdout
    assert not out.exists()


def test_another_judge_or_more_pairs_are_another_judgement():
    config = JudgeConfig(a="late_half", b="hyperfitted", model="m", pairs=40)
    found = SimpleNamespace(settings=config.model_dump(mode="json", exclude={"api_key_env"}))
    assert _was_asked(found, config)
    assert _was_asked(found, config.model_copy(update={"concurrency": 9}))
    for other in ({"model": "n"}, {"pairs": 50}, {"orders": "single"}, {"a": "late_half,seed=1"}):
        assert not _was_asked(found, config.model_copy(update=other))


def test_a_plan_that_is_judged_asks_once_and_again_for_other_texts(tmp_path, monkeypatch):
    """Of a planted study that was evaluated, by a judge that is a server of ours."""
    folder, cell = plant(tmp_path / "study"), SimpleNamespace(name="cell")
    evaluated = Step("cell", "evaluate", folder.path, lambda: None, lambda: True)
    texts = files_of(folder.path, folder.generations.glob("*.jsonl"))
    rewrite(folder.study_file, lambda about: about | {"files": texts})
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(key=None, answer=lambda _: json.dumps(verdict("A"))) as server:
        config = JudgeConfig(a="hyperfitted", b="original", model="m", endpoint=server.url)
        step = _judgement(config, folder, cell, evaluated)
        assert not step.is_done()
        result = CliRunner().invoke(app, step.command())
        assert result.exit_code == 0, result.output
        assert len(server.bodies) == 4, "two contexts, both orders"
    assert step.is_done()
    other = config.model_copy(update={"model": "another"})
    assert not _judgement(other, folder, cell, evaluated).is_done()
    rewrite(folder.study_file, lambda about: about | {"files": {}})
    assert not step.is_done(), "what was judged are no longer its texts"


def test_a_study_to_which_runs_were_added_is_evaluated_again_and_no_other_folder_is(tmp_path):
    study_folder = StudyFolder(tmp_path / "s")
    runs = [study_folder.runs / name for name in ("a", "b")]
    for run in (*runs, tmp_path / "elsewhere"):
        write_file(RunFolder(run).manifest_file, manifest())
    write_json(study_folder.study_file, {"runs": []})
    write_json(study_folder.explain_file("lens"), {})
    added = Runs(folders=tuple(runs))
    assert new_study(added, study_folder.path).path == study_folder.path
    with pytest.raises(InputError, match="holds a study"):
        new_study(Runs(folders=(tmp_path / "elsewhere",)), study_folder.path)
