"""Files whole or not at all, seals that notice damage, locks that name their owner."""

import json
import os
import subprocess
import sys
import time

import pytest

from hyperfitting.errors import InputError
from hyperfitting.seals import SEAL, DamagedError, open_sealed, sealed_folder
from hyperfitting.storage import (
    LOCK,
    OWNER,
    new_directory,
    only_writer,
    read_json,
    read_jsonl,
    sweep_temporaries,
    sweep_temporaries_in,
)


def seal(path):
    with sealed_folder(path, {"step": 3}) as folder:
        (folder / "a.bin").write_bytes(b"abc")
        (folder / "b.json").write_text("{}")
    return path


def damage_content(folder):
    (folder / "a.bin").write_bytes(b"abd")


def remove_file(folder):
    (folder / "b.json").unlink()


def remove_seal(folder):
    (folder / SEAL).unlink()


def cut_seal(folder):
    (folder / SEAL).write_text((folder / SEAL).read_text()[:-9])


def foreign_seal(folder):
    (folder / SEAL).write_text("[1]")


def test_a_seal_opens_and_says_what_it_is_about(tmp_path):
    assert open_sealed(seal(tmp_path / "x")) == {"step": 3}


@pytest.mark.parametrize("harm", [damage_content, remove_file, remove_seal, cut_seal, foreign_seal])
def test_damage_is_noticed(tmp_path, harm):
    folder = seal(tmp_path / "x")
    harm(folder)
    with pytest.raises(DamagedError, match="damaged|b.json is missing"):
        open_sealed(folder)


def test_a_new_folder_takes_the_place_of_an_old_one(tmp_path):
    for text in ("old", "new"):
        with new_directory(tmp_path / "x") as folder:
            (folder / text).write_text(text)
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["new"]


def test_what_a_killed_writer_left_is_swept(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from hyperfitting.storage import new_directory\n"
        "with new_directory(Path(sys.argv[1]) / 'x') as folder:\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert [p.name.startswith(".x.tmp-") for p in tmp_path.iterdir()] == [True]
    (tmp_path / ".other.tmp-1").mkdir()
    sweep_temporaries(tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == [".other.tmp-1"]


HOLDER = (
    "import sys, time; from pathlib import Path; from hyperfitting.storage import only_writer\n"
    "with only_writer(Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(60)"
)


def test_a_second_writer_is_told_who_holds_the_lock(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        message = rf"in use by process {holder.pid} on \S+, for 0\.\d minutes"
        with pytest.raises(InputError, match=message), only_writer(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    with only_writer(tmp_path):  # the system gave a killed owner's lock back
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / OWNER).exists()


def looped(path):
    path.symlink_to(path.name)
    return "a link, to"


def dangling(path):
    path.symlink_to("nowhere")
    return "a link, to nowhere"


def linked(path):
    (path.parent / "mine").write_text("mine")
    path.symlink_to("mine")
    return "a link, to mine"


def a_folder(path):
    path.mkdir()
    return "a folder"


def a_pipe(path):
    os.mkfifo(path)
    return "a device, a pipe or a socket"


@pytest.mark.parametrize("name", [LOCK, OWNER])
@pytest.mark.parametrize("make", [looped, dangling, linked, a_folder, a_pipe])
def test_what_is_no_file_in_the_place_of_a_lock_is_named_and_not_written_to(tmp_path, name, make):
    said = make(tmp_path / name)
    with (
        pytest.raises(InputError, match=rf"{name} is {said}") as error,
        only_writer(tmp_path),
    ):
        pass
    assert "remove it" in error.value.hint
    assert make is not linked or (tmp_path / "mine").read_text() == "mine"


def test_whoever_waits_is_told_for_whom_and_gets_the_lock(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    told = []

    def wait(held):
        told.append(held)
        holder.kill()
        holder.wait()

    with only_writer(tmp_path, wait):
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
    assert f"{tmp_path} is in use by process {holder.pid}" in told[0]


def test_a_users_own_file_is_not_swept(tmp_path):
    for name in (".x.jsonl.77.tmp", ".x.notes.tmp"):
        (tmp_path / name).write_text("")
    sweep_temporaries_in(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".x.notes.tmp"]


@pytest.mark.parametrize("name", ["*", "exp[1]", "exp?", "a", "a.json", "[!b]", "a.tmp-b"])
def test_a_name_is_no_pattern_and_no_beginning_of_another(name, tmp_path):
    others = (".exp1.tmp-live", ".b.tmp-live", ".a.json.b.tmp-live", ".a.b.json.7.tmp", ".7.tmp")
    own = {f".{name}.tmp-own", f".{name}.77.tmp"}
    for each in {*others, *own}:
        path = tmp_path / each
        path.mkdir() if ".tmp-" in each else path.write_text("")
    sweep_temporaries(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {*others} - own


def test_links_among_what_is_swept_lead_nowhere(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    (tmp_path / ".x.tmp-1").symlink_to(tmp_path / "mine")
    sweep_temporaries(tmp_path / "x")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]


def test_a_folder_made_for_a_lock_alone_is_gone_again(tmp_path):
    with only_writer(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    with only_writer(tmp_path / "new"):
        (tmp_path / "new" / "file").write_text("x")
    assert (tmp_path / "new" / "file").exists()


def test_the_age_of_a_lock(tmp_path):
    with only_writer(tmp_path):
        owner = {"pid": 7, "host": "far", "since": time.time() - 600}
        (tmp_path / OWNER).write_text(json.dumps(owner))
        with pytest.raises(InputError, match="process 7 on far, for 10.0 minutes"):  # noqa: SIM117
            with only_writer(tmp_path):
                pass


@pytest.mark.parametrize("read", [read_json, read_jsonl])
def test_a_file_that_nests_without_end_is_damaged(read, tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"a.json cannot be read"):
        read(tmp_path / "a.json")
