"""What is compared: where its result may be written, and which texts belong together."""

import shutil
from dataclasses import replace

import pytest

from hyperfitting import seals
from hyperfitting.cli.subject import read_subject
from hyperfitting.compare.comparison import Comparison, Here
from hyperfitting.compare.subject import (
    Runs,
    new_study,
    on_its_day,
    open_subject,
    study_to_explain,
)
from hyperfitting.config import (
    CheckpointsConfig,
    DataConfig,
    EvaluateConfig,
    ExplainConfig,
    OriginalConfig,
)
from hyperfitting.config.layers import OVERRIDE, Layer
from hyperfitting.data.store import load_dataset, save_dataset
from hyperfitting.errors import InputError
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain.verb import explain
from hyperfitting.progress import Progress
from hyperfitting.report.load import read_study
from hyperfitting.runs import RunFolder, StudyFolder
from tests.sealing import reseal
from tests.train.test_result import trained

QUICK = {"natural_tokens": 0, "sampling_seeds": 0, "resamples": 100, "device": "cpu"}
FAST = ExplainConfig(resamples=100, random_draws=0, strengths=(0.5,), swap_contexts=0, device="cpu")

CHECKPOINTS = CheckpointsConfig(
    model=OriginalConfig(name="a"), tuned="b", data=DataConfig(source="d")
)


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_folder, texts_file):
    folder = tmp_path_factory.mktemp("subject") / "demo" / "runs" / "late"
    return trained(model_folder, texts_file, folder, "late_stage_lora")


def test_runs_may_be_named_by_texts(run):
    assert Runs(folders=str(run.path), data="d") == Runs(folders=(run.path,), data=("d",))
    with pytest.raises(InputError, match="no folder is given"):
        open_subject(Runs(folders=()), Here(), Progress())


def test_a_study_that_was_interrupted_is_written_around_its_runs_and_nothing_else_is(run):
    place = run.path.parents[1]
    subject = Runs(folders=(run.path,))
    assert new_study(subject, place).path == place
    with pytest.raises(InputError, match="holds"):
        new_study(subject, run.path.parent)
    other = place / "tasks.json"
    other.write_text("somebody's own")
    with pytest.raises(InputError, match="holds other files"):
        new_study(subject, place)
    assert other.read_text() == "somebody's own"
    other.unlink()
    with pytest.raises(InputError, match="no folder is given"):
        new_study(Runs(folders=()), place)


def test_an_evaluation_that_was_killed_while_it_was_put_in_place_is_finished(
    run, tmp_path, monkeypatch
):
    shutil.copytree(run.path.parents[1], tmp_path / "demo")
    subject = Runs(folders=(tmp_path / "demo" / "runs" / run.path.name,))

    def stop(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(seals, "finish_replacing", stop)
        evaluate(subject, EvaluateConfig(**QUICK), tmp_path / "demo")
    assert not StudyFolder(tmp_path / "demo").study_file.exists()
    study = new_study(subject, tmp_path / "demo")
    assert read_study(study).tuned


def test_what_waits_to_be_put_in_place_goes_through_no_link(run, tmp_path):
    """A folder of somebody else: a whole staged folder, and a link to where its files would go."""
    place, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.jsonl").write_text("mine")
    with seals.sealed_folder(place / ".new", {"obsolete": ["generations/mine.jsonl"]}) as staged:
        (staged / "generations").mkdir()
        (staged / "generations" / "theirs.jsonl").write_text("theirs")
    (place / "generations").symlink_to(elsewhere)
    with pytest.raises(InputError, match="link"):
        new_study(Runs(folders=(run.path,)), place)
    assert [path.name for path in elsewhere.iterdir()] == ["mine.jsonl"]


def test_answers_to_tasks_alone_make_no_study_unfinished(tmp_path):
    study = StudyFolder(tmp_path)
    study.unfinished_arms.mkdir()
    study.study_file.write_text("{}")
    (study.unfinished_arms / "tasks-0.json").write_text("{}")
    assert not study.lacks_tasks
    (study.unfinished_arms / "arms-0.json").write_text("{}")
    assert study.lacks_tasks


def test_other_texts_than_a_folder_speaks_of_are_refused_before_anything_runs(
    run, capitals, tmp_path
):
    elsewhere = Runs(folders=(run.path,), data=(str(capitals),), text_field="story")
    config = EvaluateConfig(**QUICK)
    study = evaluate(elsewhere, config, tmp_path / "elsewhere")
    assert study_to_explain(elsewhere, study.path).path == study.path
    explain(elsewhere, FAST, study.path)  # of the same texts
    before = study.study_file.read_bytes()
    with pytest.raises(InputError, match="is of other held-out texts"):
        explain(Runs(folders=(run.path,), data=(str(run.manifest().config["data"]["source"]),)),
                FAST, study.path)  # fmt: skip
    with pytest.raises(InputError, match=r"explain.geometry\.json is of other held-out texts"):
        evaluate(study.path, config)
    assert study.study_file.read_bytes() == before
    (study.path / "study.json").write_text('{"runs": [], "data": {"template_date": "today"}}')
    with pytest.raises(InputError, match=r"study\.json .* data\.template_date is 'today'"):
        on_its_day(CHECKPOINTS, study)
    with pytest.raises(InputError, match="no arm 'late_stag_lora' to explain") as error:
        explain(run.path, FAST, arms=["late_stag_lora"])
    assert "late_stage_lora" in error.value.hint


def test_a_run_that_does_not_account_for_its_texts_is_refused_before_a_model_is_loaded(
    run, tmp_path, monkeypatch
):
    other = RunFolder(tmp_path / "run")
    shutil.copytree(run.path, other.path)
    dataset = load_dataset(other.windows_file)
    save_dataset(other.windows_file, replace(dataset, account={"read": 3}))
    reseal(other.path)
    monkeypatch.setattr(Comparison, "load_original", lambda _: pytest.fail("a model is loaded"))
    with pytest.raises(InputError, match=r"run says of its texts .*account\.empty is missing"):
        evaluate(other.path, EvaluateConfig(**QUICK))


def test_flags_win_over_a_file_and_settings_over_flags():
    given = [
        Layer("file", {"data.source": "f", "data.text_field": "f", "model.name": "f"}),
        Layer("flag --device", {"device": "cpu"}),
        Layer(OVERRIDE, {"data.text_field": "last", "seed": 3}),
    ]
    subject, own = read_subject(
        ["seed=3"], given, base="base", tuned="tuned", data=["flag"], text_field="flag", out="o"
    )
    assert (subject.model.name, subject.data.source) == ("base", "flag")
    assert subject.data.text_field == "last"
    assert {key for layer in own for key in layer.leaves} == {"device", "seed"}
