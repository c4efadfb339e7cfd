"""Kill a second evaluation and a second explanation at file operations, and see what is read then.

    python -m tests.faults.kills OUT [--kills 60]

An evaluated and explained study is evaluated again (at another confidence; on other texts) and
explained again. The command is killed just before one of the file operations by which it writes;
what it writes is computed once. Then `report` has to show the old files or the new ones, never some
of each, or refuse, and nothing temporary may be left; and the same command (after every fifth kill)
has to end with the files of one that was not killed. Exit code 1 where it does not; about ten
minutes.
"""

import argparse
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO
from unittest import mock

from hyperfitting.runs import StudyFolder
from tests.faults.sample import EVALUATE, hyperfit, make_sample
from tests.faults.verbs import VOLATILE, copy, tables_and_page

AGAIN = {
    "another confidence": ("evaluate", [*EVALUATE, "confidence=0.6"]),
    "other texts": ("evaluate", [*EVALUATE, "--data", "builtin:news"]),
    "explained again": ("explain", ["resamples=100", "strengths=[0.5]", "random_draws=1",
                                    "swap_blocks=[0, 5]", "swap_contexts=2"]),
}  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}
REPEATED = 5  # every so many kills the whole command follows, which takes longest
TEMPORARY = re.compile(r"\.tmp|^\.new$|^\.owner")


class Operations:
    """Counts this process's changes below a folder, and kills it before one of them."""

    def __init__(self, folder: Path, last: int | None, told: int) -> None:
        self.folder, self.last, self.told, self.count = str(folder), last, told, 0
        sys.addaudithook(self.see)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook of Python."""
        is_writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        path = str(arguments[0]) if is_writing or event in CHANGES else ""
        if not path.startswith(self.folder) or "/report/figures/" in path:  # most of all
            return
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


class Paused:
    """A command that has computed all that it writes, and writes it as often as it is told to."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        (asked, self._ask), (self._told, tell) = os.pipe(), os.pipe()
        if os.fork() == 0:
            os.close(self._ask)
            self._work(folder, words, os.fdopen(asked), tell)
        os.close(asked)
        os.read(self._told, 99)  # all is computed, and the lock held of a folder to be replaced

    def write(self, last: int | None = None) -> tuple[int, int]:
        """Exit code (-9: killed before its operation `last`) and how many operations it made."""
        os.write(self._ask, f"{last or 0}\n".encode())
        code, count = map(int, os.read(self._told, 99).split())
        return code, count

    def close(self) -> None:
        """End the process."""
        os.close(self._ask)
        os.wait()

    @staticmethod
    def _work(folder: Path, words: Sequence[str], asked: TextIO, tell: int) -> NoReturn:
        seen: list[Operations] = []

        def pause() -> None:
            os.write(tell, b"0 0")
            while line := asked.readline():
                reading, writing = os.pipe()
                child = os.fork()
                if child == 0:
                    seen.append(Operations(folder, int(line) or None, writing))
                    return  # and go on writing
                os.close(writing)
                with os.fdopen(reading) as counted:
                    count = counted.read() or "0"
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                os.write(tell, f"{code} {count}".encode())
            os._exit(0)

        with paused_at("replacing", pause), paused_at("replacing_explanation", pause):
            done = hyperfit(*words)
        if done.exit_code != 0 or not seen:
            print(done.output, done.exception, flush=True)
            os._exit(9)
        os.write(seen[0].told, str(seen[0].count).encode())
        os._exit(done.exit_code)


@contextmanager
def paused_at(name: str, pause: Callable[[], None]) -> Iterator[None]:
    """Call `pause` where a study begins to write what it replaces."""
    real = getattr(StudyFolder, name)

    def replacing(study: StudyFolder, *arguments: Any) -> Any:
        pause()
        return real(study, *arguments)

    with mock.patch.object(StudyFolder, name, replacing):
        yield


def contents(study: Path) -> dict[str, Any]:
    """Files of a study but for its runs, without clock times and what follows from them."""
    found: dict[str, Any] = {}
    for path in sorted(study.rglob("*")):
        name = path.relative_to(study).as_posix()
        if path.is_file() and not name.startswith(("runs/", "judge/", ".lock")):
            text = path.read_bytes().decode("utf-8", "replace")
            text = VOLATILE.sub("", re.sub(r'"[\w./]+": "[0-9a-f]{64}"', "", text))
            found[name] = re.sub(r"<svg.*?</svg>|\d+\.\d s\b", "", text, flags=re.S)
    found.pop("timings.json", None)
    return found


def left_over(study: Path) -> list[str]:
    """What has a temporary's name."""
    return [str(path) for path in study.rglob("*") if TEMPORARY.search(path.name)]


def shown(study: Path) -> str | None:
    """What `report` shows; None where it refuses."""
    done = hyperfit("report", str(study))
    assert done.exit_code in (0, 2), (done.output, done.exception)
    return tables_and_page(study) if done.exit_code == 0 else None


class Scenario:
    """One second command, once undisturbed and then killed again and again."""

    def __init__(self, out: Path, name: str) -> None:
        verb, words = AGAIN[name]
        self.sample, self.root, self.name = out / "sample", out / "trial", name
        self.study = self.root / "study"
        self.words = [verb, str(self.study), *words]
        self.put()
        self.old = shown(self.study)
        self.paused = Paused(self.study, self.words)
        self.put()
        code, self.operations = self.paused.write()
        assert code == 0, code
        self.whole = contents(self.study)
        self.new = shown(self.study)
        assert None not in (self.old, self.new)
        assert self.old != self.new

    def put(self) -> None:
        """The study as it was; one that was explained is not evaluated on other texts."""
        copy(self.sample, self.root)
        if self.name == "other texts":
            shutil.rmtree(self.study / "explain")

    def kill(self, moment: int, *, repeat: bool) -> str:
        """What a command killed before this operation leaves: `old`, `new`, `refused` or wrong."""
        self.put()
        code, _ = self.paused.write(moment)
        if code != -signal.SIGKILL:
            return f"NOT KILLED: exit code {code}"
        seen = shown(self.study)
        names = {self.old: "old", self.new: "new", None: "refused"}
        if seen not in names:
            return "MIXED"
        if repeat and (done := hyperfit_apart(self.words)) != 0:
            return f"NOT REPEATED: exit code {done}"
        after = contents(self.study)
        if (repeat or seen == self.new) and after != self.whole:
            odd = [n for n in self.whole | after if self.whole.get(n) != after.get(n)]
            return f"OTHER FILES: {', '.join(odd)}"
        left = left_over(self.study)
        return f"LEFT OVER: {', '.join(left)}" if left else names[seen]


def hyperfit_apart(words: Sequence[str]) -> int:
    """Run a command from its start in a process of its own; its exit code."""
    child = os.fork()
    if child == 0:
        os._exit(hyperfit(*words).exit_code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Make the sample, kill, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=60)
    asked = parser.parse_args()
    os.environ["COLUMNS"] = "400"
    if not (asked.out / "sample/stopped").exists():
        # In a child: a process that has computed cannot be forked safely.
        if os.fork() == 0:
            make_sample(asked.out / "sample")
            os._exit(0)
        assert os.wait()[1] == 0
    has_failed = False
    for name in AGAIN:
        scenario = Scenario(asked.out, name)
        kills = max(1, asked.kills // len(AGAIN))
        step = scenario.operations / kills
        moments = sorted({1 + int(step * number) for number in range(kills)})
        ended = Counter(
            scenario.kill(moment, repeat=not place % REPEATED)
            for place, moment in enumerate(moments)
        )
        scenario.paused.close()
        print(f"{name}: {scenario.operations} operations, {len(moments)} kills: {dict(ended)}",
              flush=True)  # fmt: skip
        has_failed |= any(outcome[0].isupper() for outcome in ended)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
