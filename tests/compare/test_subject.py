"""What is compared: where its result may be written, and which texts belong together."""

import pytest

from hyperfitting.cli.subject import read_subject
from hyperfitting.compare.comparison import Here
from hyperfitting.compare.subject import Runs, new_study, open_subject, study_to_explain
from hyperfitting.config import EvaluateConfig, ExplainConfig
from hyperfitting.config.layers import OVERRIDE, Layer
from hyperfitting.errors import InputError
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain.verb import explain
from hyperfitting.progress import Progress
from tests.train.test_result import trained

QUICK = {"natural_tokens": 0, "sampling_seeds": 0, "resamples": 100, "device": "cpu"}
FAST = ExplainConfig(resamples=100, random_draws=0, strengths=(0.5,), swap_contexts=0, device="cpu")


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
    with pytest.raises(InputError, match="no arm 'late_stag_lora' to explain") as error:
        explain(run.path, FAST, only=["late_stag_lora"])
    assert "late_stage_lora" in error.value.hint


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
