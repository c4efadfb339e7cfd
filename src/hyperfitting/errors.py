"""The errors a user can cause, each saying what was given, what is needed and a hint."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class HyperfittingError(Exception):
    """Base of every error this package raises on purpose."""


class SaidError(HyperfittingError):
    """An error that is told in one message, without a traceback.

    Args:
        given: what was found, in one sentence.
        needed: what would have been accepted.
        hint: what to try next.
    """

    exit_code = 2

    def __init__(self, given: str, *, needed: str | None = None, hint: str | None = None) -> None:
        self.given, self.needed, self.hint = given, needed, hint
        lines = [given]
        if needed:
            lines.append(f"needed: {needed}")
        if hint:
            lines.append(f"hint: {hint}")
        super().__init__("\n".join(lines))


class InputError(SaidError):
    """Something the user gave cannot be used; the command line exits with code 2."""


class DeniedError(InputError):
    """A path that the user gave, and that the system does not let us read or write."""


class MachineError(SaidError):
    """The disk or the memory gave out; the command line exits with code 1.

    What was written before is whole.
    """

    exit_code = 1


class InterruptedRunError(HyperfittingError):
    """Ctrl-C while training: the run in `run` was saved after `step` and can be resumed.

    `study` is the folder of the study it was a part of, which cannot be continued as a whole.
    """

    def __init__(self, step: int, run: Path, study: Path | None = None) -> None:
        self.step, self.run, self.study = step, run, study
        lines = [
            f"interrupted after step {step}; the run is saved in {run}",
            f"continue with: hyperfit train --resume --out {run}",
        ]
        if study:
            lines.append(f"that finishes this run; the study {study} starts anew in another folder")
        super().__init__("\n".join(lines))


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option most similar to `name`, or None where nothing is similar."""
    matches = get_close_matches(name, list(options), n=1, cutoff=0.5)
    return matches[0] if matches else None


def did_you_mean(name: str, options: Iterable[str]) -> str | None:
    """A hint naming the option nearest to `name`, or None where nothing is near."""
    match = nearest(name, options)
    return f"did you mean {match!r}?" if match else None
