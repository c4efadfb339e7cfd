"""What verbs say where the machine gives out: disks, memory, Ctrl-C. Real processes; needs root.

    python -m tests.faults.machine OUT [--only full,read-only,memory,file-size,interrupt]

The verbs that make and read a study, on a copy of a small one: on a disk that fills up, on one that
cannot be written to, with less memory than it needs, with a limit to the size of files, and
interrupted at many moments.
A trial fails with a traceback, with another exit code than 0, 1, 2 or 130, where the same command
does not succeed once there is room, and where Ctrl-C is not answered in two seconds. With too
little memory a C library may end the program itself, in a line of its own. Exit code 1 where one
fails; about forty minutes.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.faults.sample import EVALUATE, EXPLAIN, TRAIN, judge_command, make_sample
from tests.golden.make_study import opinion
from tests.judge.serving import KEY, serving

PROGRAM = [sys.executable, "-c", "from hyperfitting.entry import main; main()"]
FREE = (8, 64, 300, 2_000)  # kilobytes on the disk that fills up
MEMORY = (600, 900, 1_200, 1_600, 2_200, 3_000)  # megabytes of address space
SIZES = (1, 20, 400)  # kilobytes of a file
MOMENTS = (0.03, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 1.8, 2.5, 3.5, 5.0, 7.0)  # seconds
ABORTED = (127, -6)  # exit codes of the dynamic loader and of abort()
ANSWERED = 2.0  # seconds from Ctrl-C to a line or the end
SECONDS = 600  # that a command may take


def commands(root: Path, url: str) -> dict[str, list[str]]:
    """What is tried, on what lies in a folder."""
    study = str(root / "study")
    train = ["train", "builtin", "--data", "builtin:fiction", "--method", "late_stage_lora"]
    return {
        "train": [*train, "--out", str(root / "new"), *TRAIN],
        "resume": ["train", "--resume", "--out", str(root / "stopped")],
        "evaluate": ["evaluate", study, *EVALUATE],
        "explain": ["explain", study, *EXPLAIN],
        "judge": judge_command(study, url),
        "generate": ["generate", f"{study}/runs/hyperfitted-seed-0", "--prompt", "The old"],
        "report": ["report", study],
    }


class Machine:
    """Runs commands and keeps how they ended."""

    def __init__(self, out: Path, url: str) -> None:
        self.sample, self.scratch, self.url = out / "sample", out / "place", url
        self.ended: Counter[tuple[str, str]] = Counter()
        self.failed = False

    def run(
        self, words: Sequence[str], limit: Callable[[], None] | None = None
    ) -> tuple[int, str, float]:
        """Exit code, what was printed, and seconds."""
        begun = time.monotonic()
        done = subprocess.run(
            [*PROGRAM, *words], capture_output=True, text=True, preexec_fn=limit,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr, time.monotonic() - begun

    def note(self, kind: str, trial: str, code: int, said: str, is_fine: bool = True) -> None:
        """Count one trial; show what failed, and what a refusal says."""
        is_abort = code in ABORTED and "cannot allocate memory" in said
        is_fine = is_fine and "Traceback" not in said and (code in (0, 1, 2, 130) or is_abort)
        self.ended[kind, f"exit {code}" if is_fine else "FAILED"] += 1
        self.failed |= not is_fine
        if not is_fine or code == 1:
            print(f"{'FAILED ' if not is_fine else ''}{kind}, {trial}: exit {code}\n{said[-900:]}",
                  flush=True)  # fmt: skip

    @contextmanager
    def disk(self, free: int | None = None) -> Iterator[None]:
        """The sample on a disk of its own, with so many kilobytes free."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(self.scratch)]
        subprocess.run(mount, check=True)
        try:
            shutil.copytree(self.sample, self.scratch, dirs_exist_ok=True)
            if free is not None:
                found = os.statvfs(self.scratch)
                used = (found.f_blocks - found.f_bfree) * found.f_frsize // 1024
                self.remount(f"size={used + free}k")
            yield
        finally:
            subprocess.run(["umount", "-l", str(self.scratch)], check=True)

    def remount(self, option: str) -> None:
        """Give the disk another size, or make it one that cannot be written to."""
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.scratch)], check=True)

    def full(self) -> None:
        """A full disk, and the same command where there is room again."""
        for verb in commands(self.scratch, self.url):
            for free in FREE:
                with self.disk(free):
                    words = commands(self.scratch, self.url)[verb]
                    code, said, _ = self.run(words)
                    self.note("full disk", f"{verb}, {free} kB", code, said, code in (0, 1))
                    if code:
                        self.remount("size=400m")
                        if verb == "train" and (self.scratch / "new/manifest.json").exists():
                            words = ["train", "--resume", "--out", str(self.scratch / "new")]
                        code, said, _ = self.run(words)
                        self.note("room again", f"{verb}, {free} kB", code, said, code == 0)

    def read_only(self) -> None:
        """A disk that cannot be written to: said before anything is computed."""
        for verb, words in commands(self.scratch, self.url).items():
            with self.disk():
                self.remount("ro")
                code, said, _ = self.run(words)
                is_fine = code == 0 if verb == "generate" else code == 2 and "generate" not in said
                self.note("read-only", verb, code, said, is_fine)

    def memory(self) -> None:
        """Less memory than a verb needs."""
        self._limited("memory", resource.RLIMIT_AS, [size * 1_000_000 for size in MEMORY])

    def file_size(self) -> None:
        """A limit to the size of files, as a quota sets it."""
        self._limited("file size", resource.RLIMIT_FSIZE, [size * 1024 for size in SIZES])

    def _limited(self, kind: str, what: int, sizes: Sequence[int]) -> None:
        for verb in commands(self.scratch, self.url):
            for size in sizes:
                with self.disk():
                    words = commands(self.scratch, self.url)[verb]
                    code, said, _ = self.run(words, lambda n=size: resource.setrlimit(what, (n, n)))
                    self.note(kind, f"{verb}, {size} bytes", code, said, code != 2)

    def interrupt(self) -> None:
        """Ctrl-C at many moments: the end, or a line, in two seconds."""
        for verb in commands(self.scratch, self.url):
            for moment in MOMENTS:
                with self.disk():
                    self._interrupt(verb, moment)

    def _interrupt(self, verb: str, moment: float) -> None:
        program = subprocess.Popen(
            [*PROGRAM, *commands(self.scratch, self.url)[verb]],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            # A shell lets what it puts into the background ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        time.sleep(moment)
        is_over = program.poll() is not None
        program.send_signal(signal.SIGINT)
        begun = time.monotonic()
        try:
            _, said = program.communicate(timeout=ANSWERED)
            seconds = time.monotonic() - begun
        except subprocess.TimeoutExpired:
            _, said = program.communicate(timeout=SECONDS)
            seconds = time.monotonic() - begun if "Ctrl-C" not in said else 0.0
        is_fine = seconds < ANSWERED and (is_over or program.returncode in (0, 130, -2))
        is_python = program.returncode == -2 and moment <= MOMENTS[0]  # Python itself starts
        code = 130 if is_python else program.returncode
        self.note("Ctrl-C", f"{verb}, {moment} s", code, f"{seconds:.2f} s\n{said}", is_fine)


def main() -> None:
    """Make the sample, run the trials, print how many ended how."""
    kinds = {"full": Machine.full, "read-only": Machine.read_only, "memory": Machine.memory,
             "file-size": Machine.file_size, "interrupt": Machine.interrupt}  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default=",".join(kinds))
    asked = parser.parse_args()
    os.environ |= {"OPENAI_API_KEY": KEY, "NO_PROXY": "127.0.0.1", "COLUMNS": "400"}
    if not (asked.out / "sample/stopped").exists():
        make_sample(asked.out / "sample")
    with serving(key=KEY, answer=opinion) as server:
        machine = Machine(asked.out.resolve(), server.url)
        for kind in asked.only.split(","):
            kinds[kind](machine)
    for (kind, outcome), count in sorted(machine.ended.items()):
        print(f"{kind:12} {outcome:10} {count:4}")
    sys.exit(machine.failed)


if __name__ == "__main__":
    main()
