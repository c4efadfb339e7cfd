"""`fix` does the whole job, goes on where it was stopped, and says what came of it."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hyperfitting import seals, verbs
from hyperfitting.config import ModelConfig, RunConfig
from hyperfitting.config.diagnose import DiagnoseConfig
from hyperfitting.config.fix import FixConfig
from hyperfitting.diagnose.verb import answers_to_chats
from hyperfitting.errors import InputError, InterruptedStudyError
from hyperfitting.fix import verb
from hyperfitting.fix.words import Chats, _gained
from hyperfitting.measure.intervals import share_estimate
from hyperfitting.progress import Progress
from hyperfitting.records import ORIGINAL, Arm
from hyperfitting.records.diagnosed import Diagnosis, Looped
from hyperfitting.records.exported import ExportFile
from hyperfitting.records.fixed import AnswersFile, FixFile
from hyperfitting.records.record import read_file
from hyperfitting.report.load import read_study
from hyperfitting.report.sections.strength import Suggested
from hyperfitting.report.tables import cell
from hyperfitting.runs import ExportFolder, StudyFolder
from tests.cli.test_cli import hyperfit
from tests.comparing import Said
from tests.diagnose.planted import as_if_it_knew_texts, cyclic
from tests.report.planted import measurement, plant
from tests.tiny import CHAT_TEMPLATE, END


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that goes round in four tokens."""
    return cyclic(tmp_path_factory.mktemp("model"), cycle=4, positions=512)


@pytest.fixture(autouse=True)
def knows_texts(monkeypatch):
    as_if_it_knew_texts(monkeypatch)


def config(model, texts, **settings):
    return FixConfig(model=str(model), data=str(texts), contexts=4, **settings)


@pytest.fixture(scope="module")
def fixed(model, texts_file, tmp_path_factory):
    return verbs.fix(config(model, texts_file), tmp_path_factory.mktemp("fix") / "out")


def test_every_part_is_there_and_says_the_same(fixed):
    found = read_file(FixFile, fixed.fix_file, "")
    study = read_study(StudyFolder(fixed.run))
    about = read_file(ExportFile, ExportFolder(fixed.export).record_file, "")
    assert found.is_verified == about.verification.is_verified
    assert found.strength == about.strength
    assert found.seconds.keys() == {"texts", "diagnosis", "training", "before and after", "export"}
    gained, lost, where = found.sentences
    arm = study.tuned[0] if about.strength == 1 else study.tuned[0].at_strength(about.strength)
    for metric, sentence in (("ttr", gained), ("val_ppl", lost)):
        for each in (ORIGINAL, arm):
            assert cell(study.cell(each, metric)).value in sentence
    assert str(fixed.export) in where
    assert StudyFolder(fixed.run).report_file.exists()
    assert '<section id="exports">' in StudyFolder(fixed.run).report_file.read_text()


@pytest.mark.parametrize("strength", [0.75, 1])
def test_what_is_exported_is_the_strength_that_was_chosen(
    fixed, model, texts_file, tmp_path, monkeypatch, strength
):
    out = tmp_path / "out"
    shutil.copytree(fixed.run.parent, out)
    shutil.rmtree(out / "export")
    (out / "fix.json").unlink()

    def suggested(_, tuned):
        return Suggested(tuned, tuned.at_strength(strength)) if strength < 1 else None

    monkeypatch.setattr(verb, "suggested", suggested)
    folder = verbs.fix(config(model, texts_file), out)
    assert read_file(FixFile, folder.fix_file, "").strength == strength
    base, whole, found = (
        load_file(each / "model.safetensors") for each in (model, out / "run/model", folder.export)
    )
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, torch.lerp(base[name], whole[name], strength))
    assert any(not torch.equal(base[name], tensor) for name, tensor in found.items())


def test_what_the_texts_need_is_set(fixed):
    """They fill no window of 128 tokens: shorter ones are used, and the manifest says so."""
    data = json.loads((fixed.run / "manifest.json").read_text())["config"]["data"]
    assert data["window_tokens"] == 64
    assert data["num_heldout"] == 4


def test_the_result_is_read_by_plain_transformers(fixed):
    model = AutoModelForCausalLM.from_pretrained(fixed.export)
    with torch.no_grad():
        assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 260)


def test_what_the_diagnosis_finds_is_told(texts_file, tmp_path):
    """A job that goes on says what it does not mend."""
    template = CHAT_TEMPLATE.replace(END, "\n")
    folder = cyclic(tmp_path / "model", sharpness=0.1, chat=template)
    progress = Said()
    verbs.fix(config(folder, texts_file), tmp_path / "out", progress)
    assert any("template: nothing in the chat template" in line for line in progress.lines)
    assert not any("loops:" in line for line in progress.lines)


@pytest.mark.parametrize(
    ("module", "stopped", "done_before"),
    [(verb, "evaluate", ("train",)), (seals, "finish_replacing", ("train", "evaluate"))],
)
def test_what_is_done_is_not_done_again(
    module, stopped, done_before, model, texts_file, tmp_path, monkeypatch
):
    out = tmp_path / "out"

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, stopped, stop)
        with pytest.raises(InterruptedStudyError, match="kept\ncontinue with: the same command"):
            verbs.fix(config(model, texts_file), out)
    done = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert (out / "diagnosis.json").exists()
    assert not (out / "fix.json").exists()
    for name in ("diagnose", *done_before):
        monkeypatch.setattr(verb, name, None)
    folder = verbs.fix(config(model, texts_file), out)
    found = read_file(FixFile, folder.fix_file, "")
    # The times of the call that was stopped are not lost.
    assert found.seconds.keys() == {"texts", "diagnosis", "training", "before and after", "export"}
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())


def test_a_model_that_does_not_loop_is_left_alone(texts_file, tmp_path):
    folder = cyclic(tmp_path / "model", sharpness=0.1)
    fixed = verbs.fix(config(folder, texts_file), tmp_path / "out")
    found = read_file(FixFile, fixed.fix_file, "")
    assert found.strength is None
    assert found.sentences[0] == found.advice
    assert "anyway=true" in found.sentences[1]
    assert "nothing to mend" in found.advice
    assert not fixed.run.exists()


def test_it_is_trained_all_the_same_where_that_is_asked_for(texts_file, tmp_path, monkeypatch):
    """The folder that found nothing to mend is gone on with, by the command that it ends with."""
    folder = cyclic(tmp_path / "model", sharpness=0.1)
    verbs.fix(config(folder, texts_file), tmp_path / "out")
    trained = []

    def stop(*_, **__):
        trained.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "train", stop)
    with pytest.raises(InterruptedStudyError):
        verbs.fix(config(folder, texts_file, anyway=True), tmp_path / "out")
    assert trained


def test_what_is_refused_at_once_leaves_the_folder_free(model, texts_file, tmp_path):
    out = tmp_path / "out"
    for wrong in (config(tmp_path / "none", texts_file), config(model, tmp_path / "none.jsonl")):
        with pytest.raises(InputError, match="none"):
            verbs.fix(wrong, out)
        assert not (out / "settings.json").exists()


def asked(share, n=12):
    """Answers to chats of which a share loops."""
    of = share_estimate([place < share * n for place in range(n)])
    return Looped(
        prompts="its chat template", arithmetic="float32", looped=of, ttr=of, ended=of,
        period=None, onset=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "chats", "head", "through"),
    [
        (0.9, 0.05, None, "Gained: 5 % of its greedy texts loop, 90 % did", ""),
        (0.9, 0.4, None, "Gained, and it still loops: 40 %", ""),
        (0.7, 1.0, None, "Nothing gained against loops, it still loops: 100 %", ""),
        (0.9, 0.05, (0.5, 0.0), "Gained: 5 %", "; 0 % of its answers to 12 chats loop, 50 % did."),
        (0.9, 0.05, (0.0, 0.25), "Gained, and it still loops: 5 %", "; 25 % of its answers"),
        (0.0, 0.0, (0.75, 0.0), "Gained: 0 % of its greedy texts loop", "loop, 75 % did."),
        (0.0, 0.0, (0.75, 0.75), "Nothing gained against loops, it still loops: 0 %", "75 % did."),
    ],
)
def test_what_was_gained_is_said_by_the_figures(before, after, chats, head, through, tmp_path):
    study = read_study(plant(tmp_path / "study"))
    rows = [row for row in study.rows if row.metric != "looped_rate"]
    rows += [measurement("original", "looped_rate", before, None),
             measurement("hyperfitted", "looped_rate", after, 0)]  # fmt: skip
    both = None if chats is None else Chats(*map(asked, chats))
    said = _gained(replace(study, rows=rows), Arm("hyperfitted", 0), both)
    assert said.startswith(head)
    assert through in said
    assert ("chats" in said) == (chats is not None)


def test_answers_to_chats_are_asked_for_before_and_after(texts_file, tmp_path):
    """What is said of the run holds of the model that was exported from it."""
    folder = cyclic(tmp_path / "model", cycle=4, positions=512, chat=True)
    fixed = verbs.fix(config(folder, texts_file), tmp_path / "out")
    found = read_file(FixFile, fixed.fix_file, "")
    after = read_file(AnswersFile, fixed.answers_file, "").after
    _, before = read_file(Diagnosis, fixed.diagnosis_file, "").greedy
    assert (before.looped.n, before.looped.value) == (after.looped.n, 1.0)
    assert found.chat_loops == after.looped.value
    assert found.still_loops == (max(found.loops, found.chat_loops) > 0.1)
    assert f"of its answers to {after.looped.n} chats loop, 100 % did" in found.sentences[0]
    assert "answers to chats" in found.seconds
    again = answers_to_chats(
        DiagnoseConfig(
            model=ModelConfig(name=str(fixed.export)),
            data=RunConfig.model_validate(
                json.loads((fixed.run / "manifest.json").read_text())["config"]
            ).data,
            **verb.QUICK,
        ),
        Progress(),
    )
    assert again == after


def test_a_run_is_refused(fixed, texts_file, tmp_path):
    with pytest.raises(InputError, match="is a run, which was trained already") as error:
        verbs.fix(config(fixed.run, texts_file), tmp_path / "out")
    assert "trained from" in error.value.needed


def test_other_settings_go_on_with_nothing(model, texts_file, tmp_path):
    """A model that does not loop leaves a diagnosis; another model does not read it."""
    calm = cyclic(tmp_path / "calm", sharpness=0.1)
    verbs.fix(config(calm, texts_file), tmp_path / "out")
    with pytest.raises(InputError, match="was begun with model="):
        verbs.fix(config(model, texts_file), tmp_path / "out")
    with pytest.raises(InputError, match="was begun with seed=0, and seed=1"):
        verbs.fix(config(calm, texts_file, seed=1), tmp_path / "out")


def test_what_cannot_be_exported_is_refused_before_it_is_trained(model, texts_file, tmp_path):
    for settings, words in (
        ({"format": "adapter"}, "holds a whole model and no adapter"),
        ({"gguf_type": "q8_0"}, "would have no effect"),
    ):
        with pytest.raises(InputError, match=words):
            verbs.fix(config(model, texts_file, **settings), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="above 0 and less than 1"):
        config(model, texts_file, strengths=(1.5,))


def test_the_card_trains_the_same_again(fixed):
    command = (fixed.export / "README.md").read_text()
    assert "data.window_tokens=64" in command
    assert "data.num_heldout=4" in command


def test_texts_that_cannot_be_trained_on_are_refused(model, tmp_path):
    few = tmp_path / "few.jsonl"
    few.write_text('{"text": "Too short."}\n')
    with pytest.raises(InputError):
        verbs.fix(config(model, few), tmp_path / "out")
    assert not (tmp_path / "out" / "run").exists()


def test_a_folder_with_something_else_is_left_as_it_is(model, texts_file, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="holds other files"):
        verbs.fix(config(model, texts_file), tmp_path)
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_the_command_ends_with_three_sentences(model, texts_file, tmp_path):
    out = tmp_path / "out"
    result = hyperfit("fix", model, "--data", texts_file, "--out", out, "contexts=4")
    assert result.exit_code in (0, 1), result.output
    said = result.stdout.strip().splitlines()
    assert [line.split()[0].strip(":") for line in said[1:]] == ["Lost", "It"]
    assert said[0].startswith(("Gained", "Nothing gained"))
    found = json.loads((out / "fix.json").read_text())
    assert result.exit_code == int(not found["is_verified"] or found["still_loops"])
    assert found["still_loops"] == (found["loops"] > 0.1)
    assert found["chat_loops"] is None  # it has no template
    assert "about" in result.output
    assert "minutes" in result.output
