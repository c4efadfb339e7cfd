"""What is read is what was written: digests taken with a file and compared when it is read.

Three kinds of seal. A JSON record carries the digest of its own content (`content_digest`). A list
of files in such a record (`files_of`, `require_unchanged`) seals what belongs to it. A sealed
folder carries `COMPLETE.json`, the digests of all its files, and gets its place by one rename; what
a crash leaves behind has another name and is never read. Files that are replaced together
(`replaced_together`) are such a folder until they are in place.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.foreign import OddNameError, path_inside, require_regular
from hyperfitting.storage import new_directory, read_json, temporary_prefix, write_json

SEAL = "COMPLETE.json"
DIGEST = "content_digest"  # of a JSON file: of all else that it says
STAGED = ".new"  # files of a folder that are whole and not yet in place
Files = dict[str, str]  # SHA-256 by the path seen from the folder, with slashes


class DamagedError(InputError):
    """A file or folder whose content is not what was sealed."""


def content_digest(content: Any) -> str:
    """SHA-256 of what a JSON file says, however it is spaced and whatever the order of its keys."""
    plain = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with require_regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(folder: Path, paths: Iterable[Path]) -> Files:
    """The digests of files, and of all files in folders among them, by their path in `folder`."""
    found: Files = {}
    for path in paths:
        files = [p for p in sorted(path.rglob("*")) if p.is_file()] if path.is_dir() else [path]
        found |= {file.relative_to(folder).as_posix(): file_digest(file) for file in files}
    return found


def require_unchanged(
    folder: Path, files: Mapping[str, str], *, wrote: str, again: str | None = None
) -> None:
    """Compare files of a folder with their digests.

    Args:
        folder: where the files are.
        files: digests by their path in it.
        wrote: what wrote them, for the message.
        again: what to do about one that has changed.

    Raises:
        DamagedError: the first that is missing or has another content.
    """
    for name, digest in files.items():
        path = inside(folder, name)
        if not path.is_file():
            raise DamagedError(
                f"{path} is missing: {wrote} wrote it", needed="the whole folder", hint=again
            )
        try:
            found = file_digest(path)
        except OSError as error:
            raise DamagedError(f"{path} cannot be read: {error}", hint=again) from error
        if found != digest:
            raise DamagedError(
                f"{path} is damaged: its content is not what {wrote} wrote",
                needed="the file as it was written",
                hint=again,
            )


def inside(folder: Path, name: str) -> Path:
    """The path of a file that a seal names.

    Raises:
        DamagedError: the name leads out of the folder.
    """
    try:
        return folder / path_inside(name)
    except OddNameError as error:
        raise DamagedError(f"{folder} is damaged: {error.given}") from error


@contextmanager
def sealed_folder(path: Path, about: Mapping[str, Any]) -> Iterator[Path]:
    """Like `new_directory`, with a seal: digests of all files, and `about`."""
    with new_directory(path) as folder:
        yield folder
        seal(folder, about)


def seal(folder: Path, about: Mapping[str, Any]) -> None:
    """Write what `open_sealed` checks: the digests of all files of a folder, and `about`."""
    content = {"about": dict(about), "files": files_of(folder, [folder])}
    write_json(folder / SEAL, content | {DIGEST: content_digest(content)})


def open_sealed(path: Path) -> dict[str, Any]:
    """Check every file of a sealed folder; returns what it was sealed with.

    Raises:
        DamagedError: no seal, one that is damaged, a file that is missing, has another content or
            was added.
    """
    about, files = read_seal(path)
    require_unchanged(path, files, wrote="hyperfitting")
    present = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    if added := sorted(present - files.keys() - {SEAL}):
        raise DamagedError(f"{path} is damaged: {added[0]} was added after it was sealed")
    return about


def read_seal(path: Path) -> tuple[dict[str, Any], Files]:
    """What a sealed folder was sealed with, and the digests of its files, which are not compared.

    Raises:
        DamagedError: there is no seal, or its content is not what was written.
    """
    try:
        content = read_json(path / SEAL)
        about, files = dict(content["about"]), dict(content["files"])
        known = content.get(DIGEST)
    except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
        given = error.given if isinstance(error, InputError) else f"{path / SEAL} does not fit"
        named = given.replace(str(path / SEAL), f"its {SEAL}")
        raise DamagedError(f"{path} is damaged: {named}") from error
    if known is not None and known != content_digest({"about": about, "files": files}):
        raise DamagedError(f"{path / SEAL} is damaged: its content is not what was written")
    return about, files


@contextmanager
def replaced_together(folder: Path, obsolete: Iterable[str] = ()) -> Iterator[Path]:
    """An empty folder whose files take their places in `folder` together, or not at all.

    Args:
        folder: whose files are replaced; only the owner of its lock may.
        obsolete: paths in it, seen from it, that are removed where no new file takes their place.
    """
    staged = folder / STAGED
    with sealed_folder(staged, {"obsolete": sorted(obsolete)}) as new:
        yield new
    finish_replacing(folder)


def finish_replacing(folder: Path) -> None:
    """Put whole staged files in place, also those of a writer that was killed while it did so.

    Raises:
        DamagedError: one that is not yet in place has another content than was staged.
    """
    staged = folder / STAGED
    if not staged.is_dir():
        return
    about, files = read_seal(staged)
    waiting = {n: digest for n, digest in files.items() if inside(staged, n).is_file()}
    require_unchanged(
        staged, waiting, wrote="hyperfitting",
        again=f"delete {staged}: the files beside it are those of before",
    )  # fmt: skip
    for name in waiting:
        target = inside(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        inside(staged, name).replace(target)
    for name in set(about["obsolete"]) - files.keys():
        inside(folder, name).unlink(missing_ok=True)
    done = folder / f"{temporary_prefix(staged)}done"  # a half-removed seal would be damage
    staged.replace(done)
    shutil.rmtree(done)
