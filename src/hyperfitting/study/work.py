"""Run the steps of a plan as commands of their own: one after the other, or some side by side.

Every step is a process, so that one that runs out of memory takes nothing else with it, and a plan
does nothing that its user could not do by hand.
"""

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hyperfitting.interrupts import LIFELINE
from hyperfitting.records.grid import StepState
from hyperfitting.storage import only_writer
from hyperfitting.study.places import environment
from hyperfitting.study.steps import Step

PROGRAM = (sys.executable, "-m", "hyperfitting")
TRIES = 2
SECONDS_BETWEEN_LOOKS = 0.1
KEPT_CHARACTERS = 4_000  # of what a step said last
PATIENCE_SECONDS = 120.0  # for a step that was stopped: it finishes its products and saves
INTERRUPTED = (130, 143)  # exit codes after Ctrl-C and SIGTERM


@dataclass
class Progressed:
    """How far a step is."""

    step: Step
    state: StepState = "waiting"
    tries: int = 0
    seconds: float | None = None
    exit_code: int | None = None
    said: str | None = None
    command: list[str] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether it is tried no more."""
        return self.state != "waiting"


@dataclass
class _Running:
    """A process at work, what it says, and the pipe at whose end it stops."""

    process: subprocess.Popen[bytes]
    lifeline: int
    started: float
    pump: threading.Thread
    last: deque[str]
    slot: int


class Workers:
    """Runs the steps of all cells; `tell` hears of every change, `say` is for a person.

    `known` are all steps in order; those that are done say so.
    """

    def __init__(
        self,
        known: Sequence[Progressed],
        parallel: int,
        tell: Callable[[Sequence[Progressed]], None],
        say: Callable[[str], None],
        logs: Path,
    ) -> None:
        self.all = list(known)
        self.parallel, self.tell, self.say, self.logs = parallel, tell, say, logs
        self.running: dict[str, _Running] = {}

    def work(self) -> list[Progressed]:
        """Run every step that is not done; one that fails is tried once more, after the others.

        Raises:
            KeyboardInterrupt: Ctrl-C, after the steps under way have saved what they had.
        """
        self.tell(self.all)
        try:
            while not all(each.has_ended for each in self.all):
                self._begin_what_can()
                self._collect()
                if self.running:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            self._stop()
        return self.all

    def _begin_what_can(self) -> None:
        ready = {each.step.folder for each in self.all if self._can_begin(each)}
        together = min(self.parallel, len(self.running) + len(ready))
        for each in self._in_order():
            if len(self.running) == self.parallel:
                return
            if self._can_begin(each):
                self._begin(each, together)

    def _in_order(self) -> list[Progressed]:
        """What is tried for the first time before what failed once."""
        return sorted(self.all, key=lambda each: each.tries)

    def _can_begin(self, each: Progressed) -> bool:
        if each.has_ended or each.step.key in self.running:
            return False
        before = [other for other in self.all if other.step.key in each.step.after]
        held = {self._of(key).step.folder for key in self.running}
        return all(other.has_ended for other in before) and each.step.folder not in held

    def _of(self, key: str) -> Progressed:
        return next(each for each in self.all if each.step.key == key)

    def _begin(self, each: Progressed, together: int) -> None:
        if not each.tries and each.step.is_done():  # what came before it changed nothing for it
            each.state = "done"
            self.tell(self.all)
            return
        command = each.step.command()
        if command is None:
            each.state, each.said = "skipped", "nothing that it needs is there"
            self.tell(self.all)
            return
        each.command, each.tries = command, each.tries + 1
        number = 1 + self.all.index(each)
        again = "" if each.tries == 1 else " (once more)"
        self.say(f"[{number}/{len(self.all)}] {each.step.cell}: {each.step.name}{again}")
        with only_writer(each.step.folder, lambda held: self.say(f"  {held}: it is waited for")):
            pass  # a step of a grid that was killed may still be saving
        taken = {other.slot for other in self.running.values()}
        slot = next(place for place in range(self.parallel) if place not in taken)
        self.running[each.step.key] = self._process(each, slot, together)

    def _process(self, each: Progressed, slot: int, together: int) -> _Running:
        log: IO[bytes] | None = None
        if self.parallel > 1:
            self.logs.mkdir(parents=True, exist_ok=True)
            name = each.step.key.replace("/", "--").replace(" ", "-")
            log = (self.logs / f"{name}.log").open("ab")
        reading, writing = os.pipe()
        own = environment(slot, self.parallel, together)
        try:
            process = subprocess.Popen(
                [*PROGRAM, *each.command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[reading],
                env={**os.environ, **own, LIFELINE: str(reading)},
                start_new_session=True,  # Ctrl-C comes to us, and we end it in order
            )
        finally:
            os.close(reading)
        last: deque[str] = deque(maxlen=KEPT_CHARACTERS)
        pump = threading.Thread(target=_pump, args=(process, last, log), daemon=True)
        pump.start()
        return _Running(process, writing, time.monotonic(), pump, last, slot)

    def _collect(self) -> None:
        """Take note of what has ended."""
        for key, running in list(self.running.items()):
            code = running.process.poll()
            if code is None:
                continue
            running.pump.join(timeout=5)
            os.close(running.lifeline)
            del self.running[key]
            each = self._of(key)
            each.seconds, each.exit_code = time.monotonic() - running.started, code
            if code == 0 and each.step.is_done():
                each.state, each.said = "done", None
            elif code in INTERRUPTED:  # by somebody else than us
                raise KeyboardInterrupt
            else:
                each.said = message_in("".join(running.last)) or f"ended with code {code}"
                each.state = "failed" if each.tries == TRIES else "waiting"
                self.say(f"  failed: {each.step.cell}: {each.step.name}: {each.said}")
            self.tell(self.all)

    def _stop(self) -> None:
        """End what runs, and wait until it has saved."""
        for running in self.running.values():
            os.close(running.lifeline)
        for running in self.running.values():
            try:
                running.process.wait(timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
            running.pump.join(timeout=5)
        self.running.clear()


def _pump(process: subprocess.Popen[bytes], last: deque[str], log: IO[bytes] | None) -> None:
    """Pass on what a step says, and keep the end of it."""
    assert process.stdout is not None
    with _or_standard_error(log) as target:
        while piece := process.stdout.read1(4096):  # type: ignore[attr-defined]
            last.extend(piece.decode("utf-8", "replace"))
            target.write(piece)
            target.flush()


@contextmanager
def _or_standard_error(log: IO[bytes] | None) -> Iterator[IO[bytes]]:
    with log or os.fdopen(os.dup(2), "wb") as target:
        yield target


def message_in(said: str) -> str | None:
    """The refusal or failure that a command ended with: from its last `error:` on, in one line."""
    lines = said.replace("\r", "\n").splitlines()
    places = [place for place, line in enumerate(lines) if line.startswith("error: ")]
    if places:
        told = [line.strip() for line in lines[places[-1] :] if line.strip()]
        return "; ".join(told).removeprefix("error: ")
    told = [line.strip() for line in lines if line.strip()]
    return told[-1] if told else None
