"""What goes on after Ctrl-C in a demo, stage by stage: the commands that finish its study."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from hyperfitting.errors import InterruptedRunError, InterruptedStudyError
from hyperfitting.runs import RunFolder, StudyFolder, first_free

Stage = Literal["evaluate", "explain", "report"]


@contextmanager
def training_stops(
    study: StudyFolder, run: Path, arms: Sequence[str], *, is_first: bool
) -> Iterator[None]:
    """While a run of a study trains; `arms` are its own and those that are trained after it.

    Raises:
        InterruptedStudyError: Ctrl-C, where anything was begun that can be gone on with.
    """
    resume = f"hyperfit train --resume --out {run}"
    evaluate, _ = _evaluate(study)
    try:
        yield
    except InterruptedRunError as stop:
        kept = f"the run in {run} is saved after step {stop.step}"
        raise InterruptedStudyError(study.path, kept, [resume, evaluate], arms[1:]) from None
    except KeyboardInterrupt:
        if RunFolder(run).manifest_file.exists():
            kept = f"the run in {run} is kept as far as it came"
            raise InterruptedStudyError(study.path, kept, [resume, evaluate], arms[1:]) from None
        if is_first:
            raise
        kept = f"the finished runs in {study.runs} are kept"
        raise InterruptedStudyError(study.path, kept, [evaluate], arms) from None


@contextmanager
def stage_stops(
    study: StudyFolder, stage: Stage, *, is_explained: bool = False, settings: str = ""
) -> Iterator[None]:
    """While a later stage works, whose input stays; `is_explained` says that controls follow.

    `settings` go on with what was begun, as words of the command line.

    Raises:
        InterruptedStudyError: Ctrl-C.
    """
    try:
        yield
    except (KeyboardInterrupt, InterruptedStudyError):
        if stage == "evaluate":
            command, place = _evaluate(study)
            commands = [command, f"hyperfit explain {place}"] if is_explained else [command]
            kept = f"every run in {study.runs} is kept"
        else:
            commands = [f"hyperfit {stage} {study.path} {settings}".rstrip()]
            kept = f"what was measured in {study.path} is kept"
        raise InterruptedStudyError(study.path, kept, commands) from None


def _evaluate(study: StudyFolder) -> tuple[str, Path]:
    """The command that evaluates the runs of a study, and the folder that it writes to."""
    if study.study_file.exists():  # all but tasks is done
        return f"hyperfit evaluate {study.path}", study.path
    is_half_written = study.generations.exists()
    out = first_free(f"{study.path}-evaluated") if is_half_written else study.path
    return f"hyperfit evaluate {study.runs}/* --out {out}", out
