"""Digests are compared when files are read, and files of a folder change together or not at all."""

import json
import os
import random
import subprocess
import sys

import pytest

from hyperfitting.seals import (
    SEAL,
    STAGED,
    DamagedError,
    content_digest,
    files_of,
    finish_replacing,
    open_sealed,
    replaced_together,
    require_unchanged,
    sealed_folder,
)


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def contents(folder):
    return {name: (folder / name).read_text() for name in names(folder)}


def test_a_content_digest_is_of_what_is_said_and_not_of_its_form():
    one = {"a": [1, 2.5, None], "b": {"c": "x"}}
    assert content_digest(one) == content_digest({"b": {"c": "x"}, "a": (1, 2.5, None)})
    assert content_digest(json.loads(json.dumps(one, indent=4))) == content_digest(one)
    others = [
        {"a": [1, 2.5, None], "b": {"c": "y"}},
        {"a": [1, 2.5000000000000004, None], "b": {"c": "x"}},
        {"a": [1, 2.5], "b": {"c": "x"}},
        {"a": [True, 2.5, None], "b": {"c": "x"}},
    ]
    assert len({content_digest(each) for each in (one, *others)}) == 5


def test_any_flipped_bit_of_a_listed_file_is_noticed(tmp_path):
    (tmp_path / "part").mkdir()
    original = random.Random(0).randbytes(5_000)
    (tmp_path / "part" / "weights").write_bytes(original)
    (tmp_path / "empty").write_bytes(b"")
    files = files_of(tmp_path, [tmp_path / "part", tmp_path / "empty"])
    assert sorted(files) == ["empty", "part/weights"]
    require_unchanged(tmp_path, files, wrote="training")
    for place in random.Random(1).sample(range(8 * len(original)), 40):
        damaged = bytearray(original)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "part" / "weights").write_bytes(damaged)
        with pytest.raises(DamagedError, match=r"part/weights is damaged.*training wrote"):
            require_unchanged(tmp_path, files, wrote="training")
    (tmp_path / "part" / "weights").unlink()
    with pytest.raises(DamagedError, match=r"part/weights is missing: training wrote it"):
        require_unchanged(tmp_path, files, wrote="training")


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../b", ""])
def test_a_seal_names_nothing_outside_its_folder(tmp_path, name):
    with pytest.raises(DamagedError):
        require_unchanged(tmp_path, {name: "0" * 64}, wrote="training")


def test_what_was_added_to_a_sealed_folder_is_noticed(tmp_path):
    with sealed_folder(tmp_path / "x", {"step": 1}) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("1")
    assert open_sealed(tmp_path / "x") == {"step": 1}
    (tmp_path / "x" / "more").write_text("2")
    with pytest.raises(DamagedError, match="more was added after it was sealed"):
        open_sealed(tmp_path / "x")


def test_a_seal_without_its_files_is_damaged(tmp_path):
    with sealed_folder(tmp_path / "x", {"step": 1}) as folder:
        (folder / "a").write_text("1")
    seal = json.loads((tmp_path / "x" / SEAL).read_text())
    (tmp_path / "x" / SEAL).write_text(json.dumps(seal | {"files": {}}))
    with pytest.raises(DamagedError, match="its content is not what was written"):
        open_sealed(tmp_path / "x")


OLD = {"study.json": "old", "texts/a.jsonl": "old a", "texts/gone.jsonl": "old gone"}
NEW = {"study.json": "new", "texts/a.jsonl": "new a", "texts/b.jsonl": "new b"}
MINE = {"notes.txt": "mine"}


def put(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_files_are_replaced_together(tmp_path):
    put(tmp_path, OLD | MINE)
    with replaced_together(tmp_path, OLD) as new:
        put(new, NEW)
        assert contents(tmp_path)["study.json"] == "old"
    assert contents(tmp_path) == NEW | MINE


def test_nothing_is_replaced_where_writing_fails(tmp_path):
    put(tmp_path, OLD | MINE)
    with pytest.raises(OSError, match="full"), replaced_together(tmp_path, OLD) as new:
        put(new, {"study.json": "new"})
        raise OSError("full")
    assert contents(tmp_path) == OLD | MINE


KILLED = """
import os, sys
from pathlib import Path
from hyperfitting import seals, storage
from tests.test_seals import NEW, OLD, put
folder, left = Path(sys.argv[1]), int(sys.argv[2])
def counted(event, _):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open", "shutil.rmtree"):
        left -= 1
        if left == 0:
            os._exit(9)
sys.addaudithook(counted)
with seals.replaced_together(folder, OLD) as new:
    put(new, NEW)
"""


@pytest.mark.parametrize("first", range(1, 48, 6))
def test_a_killed_writer_leaves_the_old_files_or_the_new_ones(tmp_path, first):
    """Killed at one file operation after the other, in processes of their own."""
    for moment in range(first, first + 6):
        folder = tmp_path / str(moment)
        put(folder, OLD | MINE)
        command = [sys.executable, "-c", KILLED, str(folder), str(moment)]
        done = subprocess.run(command, check=False, capture_output=True, cwd=os.getcwd())
        assert done.returncode in (0, 9), done.stderr.decode()
        was_staged = (folder / STAGED).is_dir()
        finish_replacing(folder)
        found = {n: t for n, t in contents(folder).items() if not n.startswith("..new.tmp-")}
        assert found in (OLD | MINE, NEW | MINE), moment
        assert not was_staged or found == NEW | MINE
