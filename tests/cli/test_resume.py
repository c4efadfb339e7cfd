"""Stopping and going on through the command line: Ctrl-C, --resume, locks, damage, changes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from hyperfitting.seals import open_sealed, sealed_folder
from hyperfitting.storage import only_writer
from tests.cli.test_cli import SMALL, hyperfit, latest
from tests.sealing import rewrite
from tests.tiny import byte_tokenizer, tiny_model

MORE = ["--last-blocks", "2", "train.checkpoint_steps=2", "train.epochs=4", "train.stop=epochs"]


def arguments(model, data, out, *more):
    method = ["--method", "late_stage_lora"]
    return [model, "--data", data, "--out", out, *method, *latest(*SMALL, *MORE, *more)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory, model_folder, texts_file):
    out = tmp_path_factory.mktemp("straight") / "run"
    result = hyperfit("train", *arguments(model_folder, texts_file, out))
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def stopped(straight, tmp_path):
    """The straight run as it was after step 10 of 12."""
    out = tmp_path / "run"
    shutil.copytree(straight, out)
    shutil.rmtree(out / "adapter")
    shutil.rmtree(out / "checkpoints" / "step-12")
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["status"] = "training"
    del manifest["training"]
    rewrite(out / "manifest.json", lambda _: manifest)
    return out


def adapter(run):
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


def test_newest_two_checkpoints_and_the_best_are_kept(straight):
    kept = {p.name for p in (straight / "checkpoints").iterdir()}
    training = json.loads((straight / "manifest.json").read_text())["training"]
    best = {training["best_step"], training["best_val_step"]} - {None}
    assert training["best_val_step"] in (3, 6, 9, 12)
    assert kept == {"step-10", "step-12"} | {f"step-{step}" for step in best}


def test_the_same_command_with_resume_goes_on(stopped, straight, model_folder, texts_file):
    result = hyperfit("train", *arguments(model_folder, texts_file, stopped), "--resume")
    assert result.exit_code == 0, result.output
    assert "resumed after step 10" in result.stderr
    assert adapter(stopped) == adapter(straight)


def test_resume_needs_the_folder_only(stopped, straight):
    result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 0, result.output
    assert adapter(stopped) == adapter(straight)
    (stopped / "metrics.png").unlink()  # as of a run that was killed before it was drawn
    again = hyperfit("train", "--resume", "--out", stopped)
    assert again.exit_code == 0
    assert "nothing to resume" in again.stderr
    assert (stopped / "metrics.png").exists()


def test_a_run_is_complete_only_when_its_figure_is_drawn(stopped, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(stopped / "metrics.png"))

    monkeypatch.setattr("hyperfitting.train.verb.save_run_figure", full)
    result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 1
    assert "metrics.png is full" in result.stderr
    assert f"go on with: hyperfit train --resume --out {stopped}" in result.stderr
    assert json.loads((stopped / "manifest.json").read_text())["status"] == "training"


def test_a_damaged_checkpoint_is_passed_over(stopped, straight):
    checkpoints = stopped / "checkpoints"
    for name in ("step-11", "step-30"):
        shutil.copytree(checkpoints / "step-10", checkpoints / name)
    (checkpoints / "step-11" / "weights.safetensors").write_bytes(b"half")
    result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 0, result.output
    assert "step-30 belongs to another run; looking for an older checkpoint" in result.stderr
    assert "step-11/weights.safetensors is damaged" in result.stderr
    assert "resumed after step 10" in result.stderr
    assert adapter(stopped) == adapter(straight)
    assert not (checkpoints / "step-30").exists(), "it must not count among the newest two"


def test_resume_where_there_is_no_run(tmp_path, model_folder, texts_file):
    result = hyperfit("train", "--resume", "--out", tmp_path / "no")
    assert result.exit_code == 2
    assert "holds no run to resume" in result.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".notes.tmp").write_text("keep me")
    plain = arguments(model_folder, texts_file, tmp_path / "mine")
    result = hyperfit("train", *plain, "--resume")
    assert result.exit_code == 2
    assert "holds other files" in result.stderr
    assert (tmp_path / "mine" / ".notes.tmp").read_text() == "keep me"


def test_with_every_checkpoint_damaged_nothing_is_overwritten(stopped):
    for step in (stopped / "checkpoints").iterdir():
        (step / "state.json").write_text("{")
    before = {p: p.read_bytes() for p in stopped.rglob("*.json*") if p.name[0] != "."}
    result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 2
    assert "no checkpoint in" in result.stderr
    after = {p: p.read_bytes() for p in stopped.rglob("*.json*") if p.name[0] != "."}
    assert before.keys() == after.keys()
    changed = {p.name for p in before if before[p] != after[p]}
    assert changed <= {"manifest.json"}


def test_changed_settings_are_named(stopped, texts_file):
    change = ["train.learning_rate=0.5", "train.epochs=5"]
    result = hyperfit("train", "--resume", "--out", stopped, *change)
    assert result.exit_code == 2
    assert "train.epochs was 4, is 5" in result.stderr
    assert "train.learning_rate was 'auto', is 0.5" in result.stderr


def test_changed_data_are_noticed(stopped, texts_file, tmp_path):
    other = tmp_path / "other.jsonl"
    lines = texts_file.read_text().splitlines()
    other.write_text("\n".join([*lines[:3], lines[3].replace("a", "h"), *lines[4:]]) + "\n")
    manifest = json.loads((stopped / "manifest.json").read_text())
    manifest["config"]["data"]["source"] = str(other)
    rewrite(stopped / "manifest.json", lambda _: manifest)
    result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 2
    assert "(its content) was" not in result.stderr
    assert "(its content)" in result.stderr
    assert f"hint: restore {other}, or train anew" in result.stderr
    assert "takes them from the run" not in result.stderr, "that is what was done"


def other_weights(folder):
    tiny_model(seed=5).save_pretrained(folder)


def other_config(folder):
    rewrite(folder / "config.json", lambda content: content | {"rms_norm_eps": 0.1})


def other_tokenizer(folder):
    byte_tokenizer(unnamed=("<new>",)).save_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [(other_weights, "model"), (other_config, "architecture"), (other_tokenizer, "tokenizer")],
)
def test_another_base_than_the_run_began_with_is_noticed(
    stopped, model_folder, tmp_path, change, named
):
    base = tmp_path / "base"
    shutil.copytree(model_folder, base)
    manifest = json.loads((stopped / "manifest.json").read_text())
    manifest["config"]["model"]["name"] = str(base)
    rewrite(stopped / "manifest.json", lambda _: manifest)
    change(base)
    result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 2
    assert f"has changed since it was started: {named} (its content)" in result.stderr
    assert "needed: the model as it was" in result.stderr
    assert not (stopped / "adapter").exists()


@pytest.mark.parametrize(("name", "was"), [("precision", "bf16"), ("device", "cuda")])
def test_a_run_does_not_go_on_in_another_precision_or_on_another_device(stopped, name, was):
    rewrite(stopped / "manifest.json", lambda content: content | {name: was})
    result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 2
    assert f"{name} was {was}, is" in result.stderr
    assert not (stopped / "adapter").exists()


def test_a_checkpoint_of_another_version_is_refused(stopped):
    folder = stopped / "checkpoints" / "step-10"
    state = json.loads((folder / "state.json").read_text())
    about = open_sealed(folder)
    del state["rows"][0]["ttr"]
    with sealed_folder(folder, about) as anew:
        for name in ("weights.safetensors", "optimizer.safetensors"):
            shutil.copy(folder / name, anew)
        (anew / "state.json").write_text(json.dumps(state))
    result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 2
    assert f"{folder} was written by another version" in result.stderr


def test_a_run_whose_settings_are_damaged_is_refused_by_its_file(stopped):
    manifest = json.loads((stopped / "manifest.json").read_text())
    manifest["config"] = {"train": 3}
    rewrite(stopped / "manifest.json", lambda _: manifest)
    result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 2
    assert f"{stopped / 'manifest.json'} does not fit" in result.stderr
    assert "config.model is missing" in result.stderr


def test_a_run_in_use_is_refused_with_its_owner(stopped):
    with only_writer(stopped):
        result = hyperfit("train", "--resume", "--out", stopped)
    assert result.exit_code == 2
    assert f"in use by process {os.getpid()}" in result.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_resuming_ends_as_if_nothing_happened(
    tmp_path, model_folder, texts_file, sent
):
    more = ["train.epochs=400", "train.checkpoint_steps=0", "monitor.every_epochs=0"]
    out, whole = tmp_path / "run", tmp_path / "whole"
    command = [sys.executable, "-m", "hyperfitting", "train"]
    command += [str(a) for a in arguments(model_folder, texts_file, out, *more)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "windows.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    child.send_signal(sent)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 128 + sent, errors
    assert "Traceback" not in errors
    assert f"continue with: hyperfit train --resume --out {out}" in errors
    assert len(list((out / "checkpoints").iterdir())) == 1
    assert hyperfit("train", "--resume", "--out", out).exit_code == 0
    assert hyperfit("train", *arguments(model_folder, texts_file, whole, *more)).exit_code == 0
    assert adapter(out) == adapter(whole)


def test_the_same_command_on_a_stopped_run_names_resume(stopped, model_folder, texts_file):
    result = hyperfit("train", *arguments(model_folder, texts_file, stopped))
    assert result.exit_code == 2
    assert "holds a run that was stopped" in result.stderr
    assert f"hint: hyperfit train --resume --out {stopped}" in result.stderr
    with only_writer(stopped):  # as while it trains
        result = hyperfit("train", *arguments(model_folder, texts_file, stopped))
    assert result.exit_code == 2
    assert f"in use by process {os.getpid()}" in result.stderr


def test_the_same_command_on_a_complete_run_asks_for_another_folder(
    straight, model_folder, texts_file
):
    result = hyperfit("train", *arguments(model_folder, texts_file, straight))
    assert result.exit_code == 2
    assert "holds another run" in result.stderr
    assert "--resume" not in result.stderr
