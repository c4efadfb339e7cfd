"""Faults of disk, memory and permissions: one message, the right exit code, from every verb."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from typer.testing import CliRunner

from hyperfitting import storage
from hyperfitting.cli.common import one_message
from hyperfitting.cli.main import app
from hyperfitting.errors import DeniedError, InputError, MachineError
from hyperfitting.faults import going_on, is_memory, message_of, writing
from hyperfitting.storage import new_directory, write_text
from hyperfitting.writable import require_writable

PLACE = Path("some/file.json")


def system(number, name=None):
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, MachineError, "the disk of some/file.json is full"),
        (errno.EDQUOT, MachineError, "your share of the disk"),
        (errno.EFBIG, MachineError, "larger than files may be"),
        (errno.EIO, MachineError, "gives errors"),
        (errno.EROFS, DeniedError, "can only be read"),
        (errno.EACCES, DeniedError, "no permission for some/file.json"),
        (errno.EPERM, DeniedError, "no permission"),
        (errno.ENAMETOOLONG, DeniedError, "too long"),
        (errno.ENOTDIR, DeniedError, "no folder"),
    ],
)
def test_every_number_has_its_words_and_its_exit_code(number, kind, words):
    for found in (message_of(system(number, str(PLACE))), message_of(system(number), PLACE)):
        assert found is None or type(found) is kind
    found = message_of(system(number, str(PLACE)))
    assert words in found.given
    assert found.needed
    assert found.exit_code == (1 if kind is MachineError else 2)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate "
                     "memory: you tried to allocate 4096 bytes. Error code 12"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        SafetensorError("Cannot allocate memory (os error 12)"),
        system(errno.ENOMEM),
    ],
    ids=lambda error: type(error).__name__ + str(error)[:12],
)  # fmt: skip
def test_memory_is_said_as_memory_whatever_it_is_called(error):
    wrapped = InputError("the model 'x' cannot be loaded")
    wrapped.__cause__ = error
    for each in (error, wrapped):
        found = message_of(each)
        assert isinstance(found, MachineError)
        assert "memory" in found.given
        assert "batch_size" in found.hint
    assert is_memory(error)
    assert ("GPU" in message_of(error).given) == ("CUDA" in str(error))


@pytest.mark.parametrize(
    "error",
    [ValueError("out of memory"), RuntimeError("a bug"), OSError("no number"), KeyError("x"),
     system(errno.ECONNREFUSED), BlockingIOError(errno.EAGAIN, "x"), InputError("wrong")],
    ids=repr,
)  # fmt: skip
def test_other_errors_stay_what_they_are(error):
    assert message_of(error) is None
    with pytest.raises(type(error)), writing(PLACE):
        raise error


def test_a_library_that_is_half_loaded_is_told_and_ours_is_a_bug():
    def lacking(path):
        return ImportError("cannot import name 'X' from 'y.z'", name="y.z", path=path)

    found = message_of(lacking("/site-packages/y/z.py"))
    assert type(found) is MachineError
    assert found.given.endswith("not loaded whole: cannot import name 'X' from 'y.z'")
    assert "ulimit -v" in found.needed
    assert message_of(ImportError("x", name="hyperfitting.x", path="x.py")) is None
    assert message_of(ModuleNotFoundError("No module named 'y'", name="y")) is None
    wrapped = InputError("the code that the checkpoint brings does not run")
    wrapped.__cause__ = lacking("y.py")
    assert message_of(wrapped) is None


def test_what_rust_says_of_a_full_disk_is_understood():
    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(MachineError, match=r"disk of some/file\.json is full"), writing(PLACE):
        raise SafetensorError(text)


def test_a_file_that_was_asked_for_and_is_not_there_keeps_its_own_refusal():
    error = InputError("no such run")
    error.__cause__ = system(errno.ENOENT, "x")
    assert message_of(error) is None


def test_the_command_that_goes_on_is_named_once_there_is_something_to_go_on_from(tmp_path):
    saved = tmp_path / "manifest.json"
    with pytest.raises(OSError, match="space"), going_on("hyperfit train --resume", saved):
        raise system(errno.ENOSPC, "x")
    saved.write_text("{}")
    with pytest.raises(MachineError) as caught, going_on("hyperfit train --resume", saved):
        raise system(errno.ENOSPC, "x")
    assert caught.value.hint.endswith("go on with: hyperfit train --resume")
    assert "same command" not in caught.value.hint
    with pytest.raises(MachineError) as caught, going_on("hyperfit train --resume", saved):
        raise MemoryError
    assert "smaller batches need a new run; go on with: hyperfit" in caught.value.hint


@pytest.mark.parametrize(
    ("folder", "words"),
    [("/dev/null/x", "/dev/null/x lies below"), ("a" * 5000, "too long"), ("/proc/x", "proc/x")],
)
def test_a_folder_that_cannot_be_made_is_told_by_its_name(folder, words):
    with pytest.raises(DeniedError, match=words):
        require_writable(Path(folder))


def test_looking_leaves_nothing(tmp_path):
    require_writable(tmp_path / "a" / "b")
    require_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(DeniedError, match="no permission"):
        require_writable(tmp_path / "run")
    tmp_path.chmod(0o755)


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_text(path, "old")

    def full(_):
        raise system(errno.ENOSPC)

    monkeypatch.setattr(storage, "_sync", full)
    with pytest.raises(MachineError, match=r"a\.json is full"):
        write_text(path, "new")
    with pytest.raises(MachineError, match="folder is full"), new_directory(tmp_path / "folder"):
        pass
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def python(code, *arguments, limit=None, **options):
    """A small program, under a limit of the system."""

    def lower():
        if limit:
            resource.setrlimit(limit[0], (limit[1], limit[1]))

    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, preexec_fn=lower, **options
    )


WRITE = """
import sys, typer; from pathlib import Path
from hyperfitting.cli.common import one_message
from hyperfitting.storage import write_text
try:
    with one_message():
        write_text(Path(sys.argv[1]), "x" * 10**6)
except typer.Exit as ended:
    sys.exit(ended.exit_code)
"""


def test_a_limit_of_file_sizes_is_one_message(tmp_path):
    done = python(WRITE, tmp_path / "big.json", limit=(resource.RLIMIT_FSIZE, 100_000))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{tmp_path / 'big.json'} would be larger" in done.stderr
    assert list(tmp_path.iterdir()) == []


GREEDY = """
import sys, typer
from hyperfitting.cli.common import one_message
try:
    with one_message():
        b"x" * 10**12
except typer.Exit as ended:
    sys.exit(ended.exit_code)
"""


def test_a_limit_of_memory_is_one_message():
    done = python(GREEDY, limit=(resource.RLIMIT_AS, 4 * 2**30))
    assert done.returncode == 1
    assert done.stderr.startswith("error: the memory of this machine is not enough")
    assert "Traceback" not in done.stderr


SHOW = "from hyperfitting.entry import main; import sys; sys.argv[1:] = ['config', 'show']; main()"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_an_output_that_is_full_or_closed_is_one_message():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", SHOW]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the disk of the output is full")
    reading, writing_end = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command, stdout=writing_end, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing_end)
    assert done.returncode == 1
    assert done.stderr.startswith("error: what reads the output closed it")
    for text in (done.stderr,):
        assert "Traceback" not in text
        assert "Exception ignored" not in text


@pytest.mark.parametrize("verb", ["train", "demo", "evaluate"])
@pytest.mark.parametrize("out", ["/dev/null/x", "a" * 300])
def test_every_verb_refuses_a_place_it_cannot_write_before_it_loads_anything(verb, out, tmp_path):
    folder = out if out.startswith("/") else str(tmp_path / out)
    given = {
        "train": ["train", "builtin", "--data", "builtin:fiction", "--method", "full_sft"],
        "demo": ["demo"],
        "evaluate": ["evaluate", "--base", "builtin", "--tuned", "builtin", "--data",
                     "builtin:news"],
    }[verb]  # fmt: skip
    result = CliRunner().invoke(app, [*given, "--out", folder])
    assert result.exit_code == 2
    assert result.stderr.count("error: ") == 1
    assert ("too long" if out[0] == "a" else "below something that is no folder") in result.stderr


@pytest.mark.parametrize("option", ["--data", "--config"])
def test_a_name_of_5000_characters_is_one_message(option):
    arguments = ["train", "builtin", "--method", "full_sft", "--out", "x", option, "a/" * 2500]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def test_a_refusal_whose_cause_is_permission_names_permission(capsys):
    with pytest.raises(Exception) as ended, one_message():
        try:
            raise system(errno.EACCES, "run/manifest.json")
        except OSError as error:
            raise InputError("x cannot be read", hint="train again") from error
    assert ended.value.exit_code == 2
    assert "no permission for run/manifest.json" in capsys.readouterr().err
