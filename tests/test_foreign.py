"""Folders of somebody else: names, paths, links and devices that are refused."""

import json
import os

import pytest

from hyperfitting.errors import InputError
from hyperfitting.foreign import (
    led_out,
    path_inside,
    plain_name,
    relative_path,
    require_own,
    require_regular,
)
from hyperfitting.judge.pairs import find_side
from hyperfitting.judge.store import AnswerFile
from hyperfitting.records import Arm
from hyperfitting.records.record import FieldError, as_json, read
from hyperfitting.records.study import GenerationsFile, TunedEntry
from hyperfitting.report.verb import report
from hyperfitting.runs import RunFolder, StudyFolder
from hyperfitting.seals import open_sealed, sealed_folder
from hyperfitting.storage import read_json
from tests.judge.serving import make_study
from tests.manifests import manifest

OUT = ["../outside", "/tmp/outside", "a/b", "..", ".hidden", "-rf", "", "a\0b", "a\nb", "é",
       "a" * 101, "x\x1b[31m"]  # fmt: skip


@pytest.mark.parametrize("name", OUT)
def test_a_name_that_is_no_plain_one_is_refused(name):
    with pytest.raises(InputError, match="not one that hyperfitting gives"):
        plain_name(name)


@pytest.mark.parametrize("name", ["late_stage_lora", "original_sampled", "a+min_p", "top_p", "2"])
def test_the_names_of_arms_and_decoders_are_plain(name):
    assert plain_name(name) == name


@pytest.mark.parametrize("path", ["/dev/zero", "../../..", "a/../../b", "", "a\0b"])
def test_a_path_that_leads_out_is_refused(path):
    with pytest.raises(InputError, match="not relative|leads out"):
        path_inside(path)
    assert path_inside("generations/a--1.jsonl") == "generations/a--1.jsonl"


def test_a_run_may_lie_beside_its_study():
    assert relative_path("../run") == "../run"
    with pytest.raises(InputError, match="not relative"):
        relative_path("/dev/zero")


@pytest.mark.parametrize("name", [name for name in OUT if name])
def test_no_arm_has_such_a_name_whoever_makes_it(name):
    for make in (Arm, Arm.named, lambda name: Arm("original").decoded(name)):
        with pytest.raises(InputError, match="not one that hyperfitting gives"):
            make(name)
    with pytest.raises(InputError, match="not one that hyperfitting gives"):
        Arm.named("original_entropy_matched", 0, {"matched_to": name})


def test_a_manifest_with_such_an_arm_is_refused_and_named(tmp_path):
    run = RunFolder(tmp_path)
    content = as_json(manifest()) | {"arm": "../../outside", "version": 1}
    run.manifest_file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="manifest.json .* arm: the name '../../outside'"):
        run.manifest()


@pytest.mark.parametrize("file", ["/dev/zero", "../../../etc/passwd"])
def test_a_study_cannot_name_a_file_elsewhere(tmp_path, file):
    row = {"arm": "a", "seed": 0, "arm_parameters": {}, "mode": "natural", "length": 1,
           "parameters": {}, "file": file, "ties": 0, "cached_equals_uncached": None}  # fmt: skip
    with pytest.raises(FieldError, match="file: the path"):
        read(GenerationsFile, row)
    with pytest.raises(FieldError, match="arm: the name"):
        read(GenerationsFile, row | {"arm": "../a", "file": "a"})
    if file.startswith("/"):
        with pytest.raises(FieldError, match="path: the path"):
            read(TunedEntry, {"arm": "a", "seed": 0, "parameters": {}, "path": file})
    with pytest.raises(InputError, match="the path"):
        StudyFolder(tmp_path).read_generations(file)


def test_a_judge_reads_no_file_that_a_study_names_elsewhere(tmp_path):
    study = StudyFolder(make_study(tmp_path / "study", ["alpha"]))
    content = json.loads(study.study_file.read_text())
    content["generations"][0]["arm"] = "../a"
    study.study_file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="not one that hyperfitting gives"):
        find_side(study, "full_lora", "fixed_length")


def test_a_seal_cannot_name_a_file_elsewhere(tmp_path):
    with sealed_folder(tmp_path / "step-1", {}):
        pass
    seal = tmp_path / "step-1" / "COMPLETE.json"
    for name in ("/dev/zero", "../secret"):
        seal.write_text(json.dumps({"about": {}, "files": {name: "0"}}))
        with pytest.raises(InputError, match="the path"):
            open_sealed(tmp_path / "step-1")


def test_devices_pipes_and_folders_are_no_files(tmp_path):
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    for name in ("zero", "pipe", "folder"):
        path = tmp_path / f"{name}.json"
        with pytest.raises(OSError, match="not an ordinary file"):
            require_regular(path)
        with pytest.raises(InputError, match="not an ordinary file"):
            read_json(path)
        with pytest.raises(InputError, match="not an ordinary file"):
            StudyFolder(tmp_path).read_generations(path.name)
        with pytest.raises(InputError, match="not an ordinary file"):
            AnswerFile(path)
    (tmp_path / "plain").touch()
    assert require_regular(tmp_path / "plain").exists()


def test_a_link_that_leads_to_itself_leads_nowhere_and_is_no_traceback(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert led_out(tmp_path / "loop", tmp_path) is None
    assert led_out(tmp_path / "a" / ".." / ".." / "b", tmp_path) == tmp_path.parent / "b"


def test_nothing_is_written_through_a_link_that_leads_out(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "study"
    (outside / "generations").mkdir(parents=True)
    inside.mkdir()
    kept = outside / "generations" / "notes.jsonl"
    kept.write_text("mine")
    for name in ("generations", "report", "explain", "judge"):
        (inside / name).symlink_to(outside / "generations")
        with pytest.raises(InputError, match=f"{name}.* is a link that leads out of .*outside"):
            StudyFolder(inside).require_own()
        (inside / name).unlink()
    (inside / "judge").mkdir()
    (inside / "judge" / "answers.jsonl").symlink_to(kept)
    with pytest.raises(InputError, match="answers.jsonl is a link"):
        StudyFolder(inside).require_own()
    (inside / "checkpoints").symlink_to(outside)
    with pytest.raises(InputError, match="checkpoints is a link"):
        RunFolder(inside).require_own()
    (inside / "report").symlink_to(outside)
    with pytest.raises(InputError, match="link that leads out"):
        report(inside)
    assert kept.read_text() == "mine"


def test_links_inside_a_folder_and_moved_runs_are_fine(tmp_path):
    study, other = tmp_path / "study", tmp_path / "disk"
    (study / "own").mkdir(parents=True)
    other.mkdir()
    (study / "generations").symlink_to(study / "own")
    (study / "runs").symlink_to(other)
    StudyFolder(study).require_own()
    (tmp_path / "name").symlink_to(study)
    StudyFolder(tmp_path / "name").require_own()
    require_own(tmp_path / "new", [tmp_path / "new" / "a" / "b"])
