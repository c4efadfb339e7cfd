"""Checkpoints that runs kept at a training loss, as arms of a study and on its page."""

import csv
import shutil

import pytest
import torch

from hyperfitting.compare.comparison import Here
from hyperfitting.compare.kept import Kept
from hyperfitting.compare.runs import open_runs
from hyperfitting.errors import InputError
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.records import Arm
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import matched_loss, training
from hyperfitting.report.verb import report
from hyperfitting.runs import RunFolder
from tests.comparing import EVALUATE, Said
from tests.sealing import rewrite
from tests.train.test_result import trained

HERE = Here("cpu")
UNREACHED = 1e-9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def loss(folder, model_folder, texts_file):
    """What the slower of two methods reaches after its second epoch."""
    run = trained(model_folder, texts_file, folder / "probe", "late_stage_lora")
    return run.manifest().outcome.train_loss[1]


@pytest.fixture(scope="module")
def runs(folder, model_folder, texts_file, loss):
    changes = {"train.keep_at_loss": (loss, UNREACHED), "train.checkpoint_steps": 0}
    return [
        trained(model_folder, texts_file, folder / method, method, **changes).path
        for method in ("full_sft", "late_stage_lora")
    ]


@pytest.fixture(scope="module")
def config(loss):
    return EVALUATE.model_copy(update={"at_loss": (loss, UNREACHED), "strengths": (0.5,)})


@pytest.fixture(scope="module")
def study(runs, config, folder):
    return evaluate(runs, config, folder / "study")


def test_each_run_s_checkpoint_is_an_arm_with_its_own_facts(runs, loss):
    said = Said()
    compared = open_runs(runs, HERE, Kept(at_loss=(loss, UNREACHED)), said)
    names = ["hyperfitted", "late_stage_lora"]
    at_loss = (("at_loss", loss),)
    assert [each.arm for each in compared.tuned] == [
        *(Arm(name, 0) for name in names), *(Arm(name, 0, at_loss) for name in names),
    ]  # fmt: skip
    for run, result, kept in zip(runs, compared.tuned[:2], compared.tuned[2:], strict=True):
        outcome = RunFolder(run).manifest().outcome
        [about] = outcome.kept_at_loss
        assert (kept.facts.epochs, kept.facts.epoch_loss) == (about.epoch, about.loss)
        assert about.loss == outcome.train_loss[about.epoch - 1] <= loss
        assert (kept.facts.final_loss, kept.path) == (None, None)
        assert kept.facts.trainable_params == result.facts.trainable_params
        one, other = kept.load().state_dict(), result.load().state_dict()
        same = all(torch.equal(one[name], other[name]) for name in one)
        assert same == (about.epoch == outcome.epochs)
    lowest = [min(RunFolder(run).manifest().outcome.train_loss) for run in runs]
    assert said.lines == [
        f"  {run} did not reach a training loss of 1e-09, its lowest was {low:.3f}: "
        "no arm of it there"
        for run, low in zip(runs, lowest, strict=True)
    ]


def test_a_loss_that_a_run_was_not_to_keep_is_refused(runs, loss, folder):
    with pytest.raises(InputError, match="full_sft kept no checkpoint at a training loss of 0.25"):
        open_runs(runs, HERE, Kept(at_loss=(0.25,)))
    with pytest.raises(InputError) as error:
        open_runs(runs, HERE, Kept(at_loss=(0.25,)))
    assert error.value.needed.endswith(f"trained to keep: {loss}, 1e-09")
    assert error.value.hint == "train again and keep it: train.keep_at_loss=[0.25]"
    with pytest.raises(InputError, match=r"trained to keep: none"):
        open_runs([folder / "probe"], HERE, Kept(at_loss=(0.25,)))


def test_a_run_of_an_earlier_version_kept_none(runs, loss, tmp_path):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(runs[1], run.path)

    def earlier(content):
        del content["training"]["kept_at_loss"]
        del content["config"]["train"]["keep_at_loss"]
        return content

    rewrite(run.manifest_file, earlier)
    assert [each.arm.name for each in open_runs([run.path], HERE).tuned] == ["late_stage_lora"]
    with pytest.raises(InputError, match="trained to keep: none"):
        open_runs([run.path], HERE, Kept(at_loss=(loss,)))


def test_a_kept_checkpoint_that_is_gone_is_told_before_a_model_loads(runs, loss, tmp_path):
    shutil.copytree(runs[1], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(InputError, match="holds no checkpoint of step") as error:
        open_runs([tmp_path / "run"], HERE, Kept(at_loss=(loss,)))
    assert error.value.hint == "leave at_loss off, or train again"


def test_what_a_run_was_to_keep_tells_no_arms_apart(folder, runs, model_folder, texts_file):
    changes = {"train.seed": 1, "train.checkpoint_steps": 0}
    other = trained(model_folder, texts_file, folder / "seed-1", "late_stage_lora", **changes)
    compared = open_runs([runs[1], other.path], HERE)
    assert [each.arm for each in compared.tuned] == [Arm("late_stage_lora", s) for s in (0, 1)]


def test_they_are_measured_and_stand_apart(study, loss):
    found = read_study(study)
    kept = [Arm(name, 0, (("at_loss", loss),)) for name in ("hyperfitted", "late_stage_lora")]
    assert found.at_loss == kept
    assert not {*kept} & {*found.tuned, *found.greedy}
    for metric in ("ttr", "val_ppl", "coherence_original_nats", "looped_rate"):
        assert all(found.has(arm, metric) for arm in kept), metric
    others = [arm for arm in found.arms if arm.at_loss is not None and arm not in kept]
    assert others == [], "neither sampled, matched nor scaled"
    assert not [each for each in found.matching if each.arm in kept]
    own = [test for test in found.tests if set(test.arms) & {*kept}]
    assert {test.arms for test in own} == {tuple(kept)}
    assert [row[0].value for row in training.trainings(found).rows] == [
        "hyperfitted", "late_stage_lora",
    ]  # fmt: skip


def test_the_page_has_a_section_of_them(study, loss, runs):
    found = read_study(study)
    table = matched_loss.at_equal_loss(found)
    assert [name for name, _ in table.header][:4] == ["arm", "loss reached", "epoch", "TTR"]
    label = f"at_loss={loss:g}"
    assert [row[0].value for row in table.rows] == [
        "human", "original", f"hyperfitted ({label})", f"late_stage_lora ({label})",
    ]  # fmt: skip
    for run, row in zip(runs, table.rows[2:], strict=True):
        [about] = RunFolder(run).manifest().outcome.kept_at_loss
        assert (row[1].value, row[2].value) == (f"{about.loss:.3f}", str(about.epoch))
    content = matched_loss.content(found, {}, None)
    [answer] = content["answers"]
    assert answer.startswith(f"hyperfitted ({label}) minus late_stage_lora ({label}): TTR ")
    assert "no p (one training each" in answer
    report(study.path)
    assert f"<h2>{matched_loss.TITLE}</h2>" in study.report_file.read_text()
    with (study.tables / "at_equal_loss.csv").open() as file:
        assert len(list(csv.reader(file))) == 5


def test_such_a_study_is_evaluated_again_from_its_own_folder(study, config):
    before = study.measurements_file.read_bytes()
    assert evaluate(study.path, config).path == study.path
    assert study.measurements_file.read_bytes() == before
    evaluate(study.path, EVALUATE)
    found = read_study(study)
    assert matched_loss.content(found, {}, None) is None


def test_a_target_that_one_method_alone_reached_says_so(runs, folder, loss):
    slower, faster = sorted(
        runs, key=lambda run: -min(RunFolder(run).manifest().outcome.train_loss)
    )
    low = min(RunFolder(faster).manifest().outcome.train_loss)
    changed = []
    for run in (slower, faster):
        copy = RunFolder(folder / "one-alone" / run.name)
        shutil.copytree(run, copy.path)

        def asked(content):
            content["config"]["train"]["keep_at_loss"] = [low]
            kept = content["training"]["kept_at_loss"]
            reached = min(content["training"]["train_loss"]) <= low
            content["training"]["kept_at_loss"] = [kept[0] | {"target": low}] if reached else []
            return content

        rewrite(copy.manifest_file, asked)
        changed.append(copy.path)
    config = EVALUATE.model_copy(update={"at_loss": (low,), "sampling_seeds": 0})
    found = read_study(evaluate(changed, config, folder / "alone"))
    assert [arm.at_loss for arm in found.at_loss] == [low]
    name = RunFolder(slower).manifest().arm
    assert matched_loss.content(found, {}, None)["absent"] == [f"At {low:g} not reached: {name}."]
