"""Files and folders that are whole or not there, and locks that name their owner.

What a crash leaves behind has another name and is never read.
"""

import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hyperfitting.errors import InputError
from hyperfitting.faults import writing
from hyperfitting.foreign import require_regular
from hyperfitting.strict_json import parse_json

LOCK, OWNER = ".lock", ".owner.json"
# Of a folder, `temporary_prefix` and what mkdtemp adds; of a file, with the number of the process.
_TEMPORARY = re.compile(r"\.(?P<folder>.+)\.tmp-[^.]+|\.(?P<file>.+)\.\d+\.tmp", re.DOTALL)


def _sync(path: Path) -> None:
    """Make a file's content, or a folder's list of names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def share(path: Path) -> None:
    """The permissions that a new file or folder has here; some libraries write for one user."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def free_disk(path: Path) -> tuple[int, Path]:
    """Free bytes of the disk that `path` is to be on, and the folder of it that exists already."""
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    return shutil.disk_usage(existing).free, existing


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either the old content or all of the new."""
    with writing(path):
        _replace_text(path, text)


def _replace_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON (NaN is refused: undefined is null) in one piece."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line in one piece."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_json(path: Path) -> Any:
    """Content of a JSON file of ours.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        text = require_regular(path).read_text(encoding="utf-8")
        return parse_json(text)
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist", needed="a finished run or study folder"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="the folder is damaged; run the stage again"
        ) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of a file that `write_jsonl` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        # Not splitlines: it would also cut at characters that JSON leaves unescaped.
        lines = require_regular(path).read_text(encoding="utf-8").split("\n")
        return [parse_json(line) for line in lines if line]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="the folder is damaged; run the stage again"
        ) from error


def temporary_prefix(path: Path) -> str:
    """How the names begin under which a file or folder is written."""
    return f".{path.name}.tmp-"


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block succeeds."""
    with writing(path), _replacing_folder(path) as temporary:
        yield temporary


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(path), dir=path.parent))
    try:
        yield temporary
        for each in (temporary, *temporary.rglob("*")):
            share(each)
            _sync(each)
        if path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep_temporaries(path: Path) -> None:
    """Remove what killed writers of this file or folder left; only its lock's owner may."""
    _sweep(path.parent, lambda name: name == path.name)


def sweep_temporaries_in(folder: Path, pattern: str = "*") -> None:
    """Remove what killed writers left of files and folders in one, such as `step-*`."""
    _sweep(folder, lambda name: fnmatchcase(name, pattern))


def _sweep(folder: Path, is_swept: Callable[[str], bool]) -> None:
    for leftover in folder.iterdir() if folder.is_dir() else ():
        name = _written_under(leftover.name)
        if name is None or not is_swept(name):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _written_under(temporary: str) -> str | None:
    """The name of what was written under a temporary name; None of any other name."""
    found = _TEMPORARY.fullmatch(temporary)
    return found and (found["folder"] or found["file"])


def _require_ordinary(path: Path) -> None:
    """Refuse a link, a folder or a device in the place of a file that says who writes.

    Raises:
        InputError: it is one.
    """
    if path.is_symlink():
        kind = f"a link, to {path.readlink()}"
    elif path.is_dir():
        kind = "a folder"
    elif path.exists() and not path.is_file():
        kind = "a device, a pipe or a socket"
    else:
        return
    raise InputError(
        f"{path} is {kind}",
        needed="an ordinary file, or none: hyperfitting keeps there who writes to the folder",
        hint="remove it; it is made anew",
    )


@contextmanager
def only_writer(folder: Path, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a folder's lock; the system gives it back when its owner dies, however it dies.

    A folder made for the lock, in which nothing was written, is removed again.

    Args:
        folder: what is written to; it is made where it is missing.
        wait: gets one line about who holds the lock, which is then waited for; without it, a lock
            that is held is refused.

    Raises:
        InputError: another process holds it; the message names it and its age. Or what stands in
            the place of the lock is no file.
    """
    for name in (LOCK, OWNER):
        _require_ordinary(folder / name)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / LOCK), folder / OWNER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        held = f"{folder} is in use by {_describe_owner(owner)}"
        if wait is None:
            raise InputError(
                held,
                needed="one writer at a time",
                hint="wait for it, stop it, or choose another folder",
            ) from None
        wait(held)
        is_new = _wait_for(lock, folder)
    try:
        since = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        owner.write_text(json.dumps(since), encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        if is_new and [p.name for p in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            with suppress(OSError):  # one who waits was faster and has made it its own
                folder.rmdir()
        lock.release()


def _wait_for(lock: FileLock, folder: Path) -> bool:
    """Take the lock when it is free; whether its last owner had removed the folder."""
    is_new = False
    while True:
        try:
            lock.acquire()
            return is_new
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
            is_new = True


def _describe_owner(owner: Path) -> str:
    try:
        found = json.loads(owner.read_text(encoding="utf-8"))
        minutes = (time.time() - found["since"]) / 60
        return f"process {found['pid']} on {found['host']}, for {minutes:.1f} minutes"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process, which started this moment"
