"""Folders that the same command goes on with, and no command with other settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from hyperfitting.config.layers import flatten
from hyperfitting.errors import InputError, InterruptedRunError, InterruptedStudyError
from hyperfitting.records.begun import BegunFile
from hyperfitting.records.record import read_file, write_file
from hyperfitting.runs import StudyFolder, numbered

WHEREABOUTS = ("device", "trust_remote_code")  # settings that change no result's meaning
AGAIN = "run the same command again in a new folder"


class Difference(NamedTuple):
    """A setting that is not as it was when the folder was begun."""

    name: str
    before: Any
    now: Any


def begin(path: Path, config: BaseModel, may_change: Sequence[str] = ()) -> None:
    """Note the settings in the file `path`, where they do not stand already.

    Raises:
        InputError: others stand there, apart from those in `may_change`.
    """
    require_same(path, config, may_change)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, BegunFile(config=config.model_dump(mode="json")))


def require_same(path: Path, config: BaseModel, may_change: Sequence[str] = ()) -> None:
    """Refuse other settings than those that the folder of `path` was begun with, if it was.

    Raises:
        InputError: one differs that is not among `may_change`.
    """
    for name, before, now in differences(path, config) if path.exists() else ():
        if name in may_change:
            continue
        raise InputError(
            f"{path.parent} was begun with {name}={before}, and {name}={now} is given now",
            needed="the same settings, or another --out",
        )


def differences(path: Path, config: BaseModel) -> Iterator[Difference]:
    """What differs from the settings that stand in a file.

    Raises:
        InputError: the file does not fit.
    """
    before = flatten(read_file(BegunFile, path, AGAIN).config)
    for name, value in flatten(config.model_dump(mode="json")).items():
        is_compared = name in before and name.rpartition(".")[2] not in WHEREABOUTS
        if is_compared and before[name] != value:
            yield Difference(name, before[name], value)


@contextmanager
def going_on_with(folder: Path) -> Iterator[None]:
    """While it works: a stop says what is kept, and that the same command goes on.

    Raises:
        InterruptedStudyError: Ctrl-C.
    """
    try:
        yield
    except InterruptedRunError as stop:
        kept = f"the run in {stop.run} is saved after step {stop.step}"
        raise InterruptedStudyError(folder, kept) from None
    except KeyboardInterrupt:
        raise InterruptedStudyError(folder, f"what was finished in {folder} is kept") from None


def place(stem: str, config: BaseModel) -> Path:
    """The first of `numbered(stem)` that is free, or where the same settings were stopped."""
    return next(
        path
        for path in numbered(stem)
        if not path.exists() or _was_stopped(StudyFolder(path), config)
    )


def _was_stopped(study: StudyFolder, config: BaseModel) -> bool:
    if not study.settings_file.exists() or study.report_file.exists():
        return False
    return not any(differences(study.settings_file, config))
