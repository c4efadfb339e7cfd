"""Faults of disk, memory and permissions, each turned into one message: the only place that does.

Python, torch, safetensors, arrow and CUDA say the same fault in different words and types; only
here are those words known. Nothing heavy is imported.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hyperfitting.errors import DeniedError, MachineError

LONGEST_SHOWN = 160  # characters of a path in a message

# The words of C++, CUDA, the dynamic loader and Rust where memory gave out.
_MEMORY = re.compile(
    r"can(?:'t|not) allocate memory|not enough memory|out of memory|std::bad_alloc|bad allocation"
    r"|failed to map segment|can't start new thread|resource temporarily unavailable"
    r"|ALLOC_FAILED|unable to mmap|os error 12\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"os error (\d+)|\[errno (\d+)\]", re.IGNORECASE)  # Rust's words, arrow's
_MEMORY_NUMBERS = (errno.ENOMEM, errno.EAGAIN)
_SPACE = "free some space there, then run the same command again; what was written is whole"


_LESS_WORK = (
    "smaller batches (`hyperfit config show VERB` names batch_size), a smaller model, or fewer "
    "other programs; then run the same command again"
)
# A run goes on with the settings that it was started with, and no others.
_SAME_WORK = "fewer other programs, or a higher limit; smaller batches need a new run"


class _Words(NamedTuple):
    """What is said of one error number; `{}` is the path."""

    given: str
    needed: str
    hint: str | None = None
    is_users: bool = True  # about what was given, not about the machine


_WORDS = {
    errno.ENOSPC: _Words("the disk of {} is full", "more space", _SPACE, False),
    errno.EDQUOT: _Words("your share of the disk of {} is used up", "more space", _SPACE, False),
    errno.EFBIG: _Words(
        "{} would be larger than files may be here",
        "a higher limit (`ulimit -f`), or a disk that takes large files",
        "raise the limit, then run the same command again; what was written is whole",
        False,
    ),
    errno.EIO: _Words("the disk of {} gives errors", "a disk that works", None, False),
    errno.EMFILE: _Words(
        "too many files are open at {}", "a higher limit (`ulimit -n`)", None, False
    ),
    errno.ENFILE: _Words("too many files are open on this machine, at {}", "fewer", None, False),
    errno.EPIPE: _Words(
        "what reads the output closed it before all was said",
        "a reader that reads to the end",
        "files that were written are whole",
        False,
    ),
    errno.EROFS: _Words(
        "{} lies on a disk that can only be read", "a folder that can be written to",
        "give another folder, or a copy of this one elsewhere",
    ),
    errno.EACCES: _Words(
        "you have no permission for {}", "a file or folder that you may read and write",
        "`ls -ld` shows whose it is; give another folder, or a copy that is yours",
    ),
    errno.ENAMETOOLONG: _Words("the name {} is too long", "a shorter name"),
    errno.ENOTDIR: _Words("{} lies below something that is no folder", "a path through folders"),
    errno.EISDIR: _Words("{} is a folder", "a file"),
    errno.ENOENT: _Words("{} does not exist", "a path that exists"),
    errno.EEXIST: _Words("{} is there already", "another name"),
    errno.ELOOP: _Words(
        "{} is a link that leads back to itself, or one that is not followed here",
        "a file or folder in its place",
    ),
}  # fmt: skip
_WORDS[errno.EPERM] = _WORDS[errno.EACCES]
# Said in place of a refusal that they are the cause of: there the remedy is another one.
_OVERRULES = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE,
    errno.ENFILE, errno.EFBIG, errno.ENAMETOOLONG,
}  # fmt: skip


def is_memory(error: BaseException) -> bool:
    """Whether memory gave out, of the machine or of the GPU, whatever the error calls it."""
    return any(_is_memory(each) for each in _with_causes(error))


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno in _MEMORY_NUMBERS:
        return not isinstance(error, BlockingIOError)  # a lock or a pipe that would have to wait
    is_systems = isinstance(error, RuntimeError | OSError | ImportError)
    is_systems |= type(error).__name__ == "SafetensorError"
    return is_systems and bool(_MEMORY.search(str(error)))


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__


def message_of(error: BaseException, path: Path | None = None) -> DeniedError | MachineError | None:
    """The message for a fault of disk, memory, permissions or imports; None for any other error.

    Args:
        error: what was raised, with the errors that it names as its causes.
        path: what was being written, where the error itself does not say.
    """
    if isinstance(error, DeniedError | MachineError):
        return error
    if is_memory(error):
        return _of_memory(error)
    if _is_half_loaded(error):
        return MachineError(
            f"a library is not loaded whole: {error}",
            needed="more memory, where little is left or `ulimit -v` sets a limit; else that "
            "library in a version that fits, installed whole",
        )
    for each in _with_causes(error):
        number = _number(each)
        if number is not None and (each is error or number in _OVERRULES):
            return _of_number(number, each, path)
    return None


def _is_half_loaded(error: BaseException) -> bool:
    """Whether a module of somebody else was found and lacks what others import from it.

    So it goes where memory gave out while it was imported for the first time, and somebody caught
    that.
    """
    is_found = isinstance(error, ImportError) and error.path is not None
    return is_found and not str(getattr(error, "name", "")).startswith("hyperfitting")


def _number(error: BaseException) -> int | None:
    """The system's number of a fault of files; None where it is none."""
    if isinstance(error, OSError) and error.errno is not None:
        has_words = error.errno in _OVERRULES or error.errno == errno.EPIPE
        return error.errno if error.filename is not None or has_words else None
    if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
        found = _NUMBER.search(str(error))
        return int(found[1] or found[2]) if found else None
    return None


def _of_number(number: int, error: BaseException, path: Path | None) -> DeniedError | MachineError:
    named = path if path is not None else getattr(error, "filename", None)
    shown = "the output" if named is None else _short(os.fsdecode(named))
    words = _WORDS.get(number)
    if words is None:
        return MachineError(f"the system refuses {shown}: {os.strerror(number)}")
    kind = DeniedError if words.is_users else MachineError
    return kind(words.given.format(shown), needed=words.needed, hint=words.hint)


def _short(text: str) -> str:
    half = LONGEST_SHOWN // 2
    return text if len(text) <= LONGEST_SHOWN else f"{text[:half]}…{text[-half:]}"


def _of_memory(error: BaseException) -> MachineError:
    is_gpu = any("CUDA" in str(each) or "CUBLAS" in str(each) for each in _with_causes(error))
    where = "the memory of the GPU" if is_gpu else "the memory of this machine"
    return MachineError(
        f"{where} is not enough, or a limit (`ulimit -v`) keeps us from it",
        needed="more memory, or less work at once",
        hint=_LESS_WORK,
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A fault of disk or memory inside is told with the name of what is being written.

    Raises:
        DeniedError: the place cannot be written to.
        MachineError: the disk or the memory gave out.
    """
    try:
        yield
    except Exception as error:
        found = message_of(error, path)
        if found is None or found is error:
            raise
        raise found from error


@contextmanager
def going_on(command: str, saved: Path) -> Iterator[None]:
    """A fault inside is told with the command that goes on, once the file `saved` is there.

    Raises:
        DeniedError: a place cannot be written to.
        MachineError: the disk or the memory gave out.
    """
    try:
        yield
    except Exception as error:
        found = message_of(error)
        if found is None or not saved.exists():
            raise
        raise _with_command(found, command) from error


def _with_command(error: DeniedError | MachineError, command: str) -> DeniedError | MachineError:
    before = _SAME_WORK if error.hint == _LESS_WORK else error.hint or error.needed or "mend that"
    before = before.replace(", then run the same command again", "")
    before = before.replace("; then run the same command again", "")
    return type(error)(error.given, needed=error.needed, hint=f"{before}; go on with: {command}")
