"""What the user sees while a stage works: a bar for a person, lines for a log file.

`Progress` itself is silent, which is what the library functions use unless told otherwise.
Everything here goes to standard error; standard output belongs to data.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from hyperfitting.terminal import Terminal

SECONDS_BETWEEN_LINES = 30.0


class Stage:
    """One stage in progress; `update` says how far it is, `note` what came of it."""

    def __init__(self, title: str, total: int | None) -> None:
        self.title, self.total, self.note = title, total, ""

    def update(self, done: int, note: str = "") -> None:
        """Tell how many of `total` are done and what the state is."""
        self.note = note or self.note


class Progress:
    """Silent progress that only keeps the time of each stage."""

    is_watched = False  # by a person

    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []

    def say(self, text: str) -> None:
        """Tell the user something that is not tied to a stage."""

    def _begin(self, title: str, total: int | None) -> Stage:
        return Stage(title, total)

    def _end(self, stage: Stage, seconds: float) -> None:
        """Close a stage that succeeded."""

    def _abort(self, stage: Stage) -> None:
        """Close a stage that failed."""

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """Time a stage and show it while it runs."""
        stage = self._begin(title, total)
        start = time.perf_counter()
        try:
            yield stage
        except BaseException:
            self._abort(stage)
            raise
        seconds = time.perf_counter() - start
        self.seconds.append((title, seconds))
        self._end(stage, seconds)


class _LiveStage(Stage):
    """A bar where a person watches, else a line now and then."""

    def __init__(self, title: str, total: int | None, console: Terminal) -> None:
        super().__init__(title, total)
        self.console = console
        self.last_line = time.perf_counter()
        self.bar: RichProgress | None = None
        if console.is_terminal:
            self.bar = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self.task = self.bar.add_task(title, total=total, note="")
            self.bar.start()

    def update(self, done: int, note: str = "") -> None:
        super().update(done, note)
        if self.bar:
            self.bar.update(self.task, completed=done, note=self.note)
        elif time.perf_counter() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.perf_counter()
            of = f"{done}/{self.total}" if self.total else str(done)
            self.console.print(Text(f"  {self.title}  {of}  {self.note}"), soft_wrap=True)

    def close(self) -> None:
        if self.bar:
            self.bar.stop()


class ConsoleProgress(Progress):
    """Progress on standard error, one lasting line per finished stage."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Terminal(sys.stderr)
        self.is_watched = self.console.is_terminal

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(Text(text), soft_wrap=True)

    def _begin(self, title: str, total: int | None) -> Stage:
        return _LiveStage(title, total, self.console)

    def _end(self, stage: Stage, seconds: float) -> None:
        self._abort(stage)
        line = Text.assemble(
            ("✓ ", "green"), f"{stage.title:<38} ", (f"{seconds:6.1f} s", "bold"), f"  {stage.note}"
        )
        self.console.print(line, soft_wrap=True)

    def _abort(self, stage: Stage) -> None:
        if isinstance(stage, _LiveStage):
            stage.close()


def in_bytes(size: float) -> str:
    """Bytes in words: two decimals below 10 GB, one above."""
    if size < 1e7:
        return f"{size / 1e6:.2f} MB"
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:.1f} GB"


def in_number(count: int, noun: str) -> str:
    """So many of something, such as 1 text or 1,200 texts."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
