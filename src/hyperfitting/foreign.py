"""Folders of somebody else: which names, paths and files in them are refused.

A name that a file gives may become a part of a path, and a file may be a link or a device. What
is refused here is refused before it is used; `records` check the fields that hold such names.
"""

import errno
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from hyperfitting.errors import InputError

LONGEST_NAME = 100  # characters
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+:@=-]*")


class OddNameError(InputError, ValueError):
    """A name or path in a file that ours never hold; as a ValueError, pydantic adds its field."""


def plain_name(name: str) -> str:
    """`name`, where it may stand in the name of a file: letters, digits and `_ . + : @ = -`.

    Raises:
        OddNameError: it is another, begins with a sign, or is too long.
    """
    if len(name) > LONGEST_NAME or not _PLAIN.fullmatch(name):
        raise OddNameError(
            f"the name {_shown(name)} is not one that hyperfitting gives",
            needed="letters, digits and _ . + : @ = - only",
        )
    return name


def relative_path(name: str) -> str:
    """`name`, where it is a relative path; it may lead to a neighbour of its folder.

    Raises:
        OddNameError: it is absolute, empty or no path at all.
    """
    if not name or "\0" in name or PurePosixPath(name).is_absolute():
        raise OddNameError(f"the path {_shown(name)} is not relative", needed="a relative path")
    return name


def path_inside(name: str) -> str:
    """`name`, where it is a relative path that stays in its folder.

    Raises:
        OddNameError: it is absolute, empty, or leads out.
    """
    if ".." in PurePosixPath(relative_path(name)).parts:
        raise OddNameError(
            f"the path {_shown(name)} leads out of its folder", needed="a path inside the folder"
        )
    return name


def _shown(name: str) -> str:
    return repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")


class OddFileError(OSError):
    """No ordinary file stands at a path; says what does, and leaves the path to the message."""

    def __str__(self) -> str:
        return str(self.strerror)


def require_regular(path: Path) -> Path:
    """`path`, where it is an ordinary file: a device never ends, and a pipe never begins.

    Raises:
        OSError: it is none, or there is nothing.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        kind = "a folder" if path.is_dir() else "a device, a pipe or a socket"
        raise OddFileError(errno.EINVAL, f"it is {kind}, not an ordinary file", os.fspath(path))
    return path


def led_out(path: Path, root: Path) -> Path | None:
    """Where a path leads that does not stay in `root`; None where it stays.

    A link that leads back to itself stays: it leads nowhere.
    """
    end = Path(os.path.realpath(path))  # `Path.resolve` raises at such a link
    return None if end.is_relative_to(os.path.realpath(root)) else end


def require_own(folder: Path, places: Iterable[Path]) -> None:
    """Refuse to write where a link leads out of the folder that is written to.

    Raises:
        InputError: one of `places` in `folder` is, or lies behind, such a link.
    """
    for place in places:
        if (end := led_out(place, folder)) is not None:
            raise InputError(
                f"{place} is a link that leads out of {folder}, to {end}",
                needed="a folder whose files lie in it: what is written must not land elsewhere",
                hint="remove that link, or put what it points to in its place",
            )
