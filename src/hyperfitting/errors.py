"""The errors a user can cause, each saying what was given, what is needed and a hint."""

from collections.abc import Iterable, Sequence
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


SAME_COMMAND = "the same command"  # goes on after a stop


class StoppedError(HyperfittingError):
    """Ctrl-C or SIGTERM; says what is kept and names the commands that go on."""


class InterruptedRunError(StoppedError):
    """Ctrl-C while training: the run in `run` was saved after `step` and can be resumed."""

    def __init__(self, step: int, run: Path) -> None:
        self.step, self.run = step, run
        super().__init__(
            f"interrupted after step {step}; the run is saved in {run}\n"
            f"continue with: hyperfit train --resume --out {run}"
        )


class InterruptedStudyError(StoppedError):
    """Ctrl-C in a study of several stages: what was done by then stays in `study`.

    Args:
        study: its folder.
        kept: what stays there, in one clause.
    """

    def __init__(self, study: Path, kept: str) -> None:
        self.study = study
        super().__init__(f"interrupted; {kept}\ncontinue with: {SAME_COMMAND}")


class InterruptedGridError(StoppedError):
    """Ctrl-C in a study of several models: the same `command` goes on."""

    def __init__(self, folder: Path, command: str | None = None) -> None:
        self.folder = folder
        super().__init__(
            f"interrupted; every finished step in {folder} is kept, and what was under way has "
            f"saved\ncontinue with: {command or 'the same call'}"
        )


class UnfinishedGridError(SaidError):
    """Steps of a plan failed twice; all others are done.

    The command line exits with code 2 where each of them refused its input, else with 1.
    """

    def __init__(self, folder: Path, count: int, told: Sequence[str], *, is_input: bool) -> None:
        self.folder, self.told = folder, tuple(told)
        self.exit_code = 2 if is_input else 1
        steps = "1 step" if count == 1 else f"{count} steps"
        lines = "\n".join(told)
        super().__init__(
            f"{steps} of the plan failed twice; all others are in {folder}\n{lines}",
            hint="mend the cause, then the same command does what is missing",
        )


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option most similar to `name`, or None where nothing is similar."""
    matches = get_close_matches(name, list(options), n=1, cutoff=0.5)
    return matches[0] if matches else None


def did_you_mean(name: str, options: Iterable[str]) -> str | None:
    """A hint naming the option nearest to `name`, or None where nothing is near."""
    match = nearest(name, options)
    return f"did you mean {match!r}?" if match else None
