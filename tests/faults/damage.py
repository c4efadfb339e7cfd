"""Damage every kind of file of a study in every way, and see what the verbs say.

    python -m tests.faults.damage OUT [--limit N]

Makes a small study in OUT once, then runs every trial on a copy. A trial ends well where the verb
refuses with a message that names the file or its folder, recovers and says so, or writes what it
writes without the damage. It fails with a traceback, with a refusal that names nothing, or in
silence: other numbers and not a word. Exit code 1 where a trial fails; about ten minutes.
"""

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hyperfitting.compare.comparison import Comparison
from hyperfitting.models.digests import model_digest
from hyperfitting.runs import StudyFolder
from tests.faults.kinds import DAMAGES
from tests.faults.sample import hyperfit, judge_command, make_sample
from tests.golden.make_study import opinion
from tests.judge.serving import KEY, serving

LORA, SFT = "study/runs/late_stage_lora-seed-0", "study/runs/hyperfitted-seed-0"
FAILED = ("TRACEBACK", "UNNAMED", "SILENT")
SECONDS, MEMORY = 60, 6 * 2**30  # that one trial may take
OPTIONAL = {"results.json", "answers.jsonl"}  # a study without them is one that was not judged
# What differs between two runs of a verb on the same files.
VOLATILE = re.compile(r'"(seconds|monitor_seconds|written|first_answer|last_answer|date)": [^,\n]*')


@dataclass(frozen=True)
class Trial:
    """One damage to one file, and the verb that then runs."""

    verb: str
    file: str  # seen from the sample
    other: str  # whose content is swapped in
    damage: str

    @property
    def kind(self) -> str:
        """The file without what tells it from its like."""
        name = re.sub(r"study/runs/[a-z_]+-seed-0|stopped", "run", self.file)
        name = re.sub(r"step-\d+", "step", name)
        return re.sub(r"generations/.*", "generations/*", name)


class OpenedError(Exception):
    """Stops evaluating and explaining where everything was read."""


def _opened(comparison: Comparison, *_: Any, **__: Any) -> None:
    """Load what a comparison is of, and keep its digests as what the verb found."""
    models = [[repr(each.arm), model_digest(each.load())] for each in comparison.tuned]
    raise OpenedError(json.dumps([models, comparison.data, comparison.dataset.account,
                                  comparison.dataset.contexts.origins,
                                  comparison.dataset.train.ids_NT.tolist(),
                                  comparison.dataset.contexts.digest()]))  # fmt: skip


def _report(root: Path) -> tuple[Any, str]:
    done = hyperfit("report", str(root / "study"))
    folder = StudyFolder(root / "study")
    pages = [folder.report_file, *sorted(folder.tables.glob("*.csv"))]
    return done, "".join(re.sub(r"<svg.*?</svg>", "", p.read_text(), flags=re.S) for p in pages)


def _evaluate(root: Path) -> tuple[Any, str]:
    with mock.patch("hyperfitting.evaluate.verb.bench_of", _opened):
        done = hyperfit("evaluate", str(root / "study"), "best_val=true")
    return done, str(done.exception)


def _explain(root: Path) -> tuple[Any, str]:
    with mock.patch(
        "hyperfitting.explain.verb.write_explanation", lambda _, found, *__: _opened(found)
    ):
        done = hyperfit("explain", str(root / "study"))
    return done, str(done.exception)


def _generate(run: str) -> Callable[[Path], tuple[Any, str]]:
    def act(root: Path) -> tuple[Any, str]:
        done = hyperfit(
            "generate", str(root / run), "max_new_tokens=6", "--prompt", "The old", "--json"
        )
        return done, done.stdout

    return act


def _judge(root: Path) -> tuple[Any, str]:
    with serving(key=KEY, answer=opinion) as server:
        done = hyperfit(*judge_command(str(root / "study"), server.url))
        told = (root / "study/judge/results.json").read_text() if done.exit_code == 0 else ""
        found = json.loads(told)["comparisons"] if told else None
        return done, re.sub(r"127\.0\.0\.1:\d+", "HOST", json.dumps(found, indent=1))


def _resume(root: Path) -> tuple[Any, str]:
    run = root / "stopped"
    done = hyperfit("train", "--resume", "--out", str(run))
    files = sorted(run.rglob("adapter/*.safetensors"))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return done, "\n".join([*digests, (run / "metrics.jsonl").read_text() if digests else ""])


VERBS: dict[str, Callable[[Path], tuple[Any, str]]] = {
    "report": _report, "evaluate": _evaluate, "explain": _explain, "judge": _judge,
    "generate lora": _generate(LORA), "generate sft": _generate(SFT), "resume": _resume,
}  # fmt: skip


def _pairs(sample: Path, folder: str, pattern: str, count: int = 99) -> list[tuple[str, str]]:
    """Files of a folder, each with another one of them (or itself, where it is alone)."""
    names = sorted(p.relative_to(sample).as_posix() for p in (sample / folder).glob(pattern)
                   if p.is_file() and not p.name.startswith("."))  # fmt: skip
    return list(zip(names, names[1:] + names[:1], strict=True))[:count]


def trials(sample: Path) -> list[Trial]:
    """Every file that a verb reads, damaged in every way."""
    study = _pairs(sample, "study", "*.json") + _pairs(sample, "study", "*.parquet")
    study += _pairs(sample, "study/generations", "[ho]*[a-z]--*.jsonl", 5)
    judged = _pairs(sample, "study/judge", "*")
    read = {
        "report": [*study, *_pairs(sample, "study/explain", "*.json", 4), *judged],
        "judge": [*study, *judged],
        "explain": [("study/study.json", "study/timings.json")],
        "evaluate": [("study/study.json", "study/timings.json")],
    }
    read["evaluate"] += _pairs(sample, "study/explain", "*.json", 3)
    for run, other, verb in ((LORA, SFT, "generate lora"), (SFT, LORA, "generate sft")):
        own = [(f"{run}/{name}", f"{other}/{name}")
               for name in ("manifest.json", "metrics.jsonl", "windows.safetensors")]  # fmt: skip
        result = _pairs(sample, run, "adapter/*") + _pairs(sample, run, "model/*")
        read[verb] = own + result
        read["report"] += own
        read["evaluate"] += own + _pairs(sample, run, "checkpoints/*/*", 4)
    read["evaluate"] += _pairs(sample, LORA, "adapter/*")
    newest = sorted((sample / "stopped/checkpoints").iterdir(), key=lambda p: int(p.name[5:]))[-1]
    read["resume"] = [("stopped/manifest.json", f"{SFT}/manifest.json")]
    read["resume"] += _pairs(sample, "stopped", "*.jsonl") + _pairs(sample, "stopped", "*.safet*")
    read["resume"] += _pairs(sample, f"stopped/checkpoints/{newest.name}", "*")
    return [
        Trial(verb, file, other, damage)
        for verb, files in read.items()
        for file, other in files
        for damage in DAMAGES
    ]


def copy(sample: Path, to: Path) -> None:
    """A copy whose large files, which are only replaced as a whole, are hard links."""

    def put(source: str, target: str) -> None:
        is_large = os.path.getsize(source) > 2**20 and not source.endswith("windows.safetensors")
        (os.link if is_large else shutil.copy2)(source, target)

    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(sample, to, copy_function=put)


@contextmanager
def bounded() -> Iterator[None]:
    """A trial that reads without end stops."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"it took more than {SECONDS} seconds")

    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    previous = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, before)


def observe(verb: str, root: Path) -> tuple[Any, str, str]:
    """Run a verb: how it ended, what it found and what it said."""
    with bounded():
        done, found = VERBS[verb](root)
    return done, VOLATILE.sub("", found), " ".join(done.output.split())


def attempt(trial: Trial, sample: Path, scratch: Path, expected: str) -> tuple[str, str]:
    """Run one trial; returns its outcome and what is to be read of it."""
    copy(sample, scratch)
    file = scratch / trial.file
    if not DAMAGES[trial.damage](file, sample / trial.other):
        return "not possible", ""
    done, found, said = observe(trial.verb, scratch)
    error = done.exception
    if error is not None and not isinstance(error, SystemExit | OpenedError):
        return "TRACEBACK", "".join(traceback.format_exception(error)[-6:])
    folders = [file, *list(file.parents)[: len(Path(trial.file).parts) - 1]]
    is_named = any(str(path) in said for path in folders)
    if done.exit_code == 2:
        return ("refused" if is_named else "UNNAMED"), said
    if found == expected:
        return ("recovered" if str(file.parent) in said and "damage" in said else "no effect"), said
    if trial.damage == "deleted" and file.name in OPTIONAL:
        return "as without it", said
    return ("said" if is_named and trial.verb != "judge" else "SILENT"), said


def chosen(every: Sequence[Trial], limit: int | None) -> list[Trial]:
    """At most so many trials, the same every time."""
    if limit is None or limit >= len(every):
        return list(every)
    return random.Random(0).sample(list(every), limit)


def run_trials(sample: Path, scratch: Path, some: Sequence[Trial]) -> list[tuple[Trial, str, str]]:
    """Every trial with its outcome and what is to be read of it."""
    expected: dict[str, str] = {}
    for verb in dict.fromkeys(trial.verb for trial in some):
        copy(sample, scratch)
        done, expected[verb], _ = observe(verb, scratch)
        assert isinstance(done.exception, OpenedError) or done.exit_code == 0, done.output
    ended = []
    for trial in some:
        outcome, text = attempt(trial, sample, scratch, expected[trial.verb])
        ended.append((trial, outcome, text))
        if outcome in FAILED:
            print(f"\n{outcome}: {trial}\n{text}", flush=True)
    return ended


def table(ended: Sequence[tuple[Trial, str, str]]) -> str:
    """How many trials of each kind of file had each outcome."""
    counts = Counter((trial.kind, outcome) for trial, outcome, _ in ended)
    outcomes = sorted({outcome for _, outcome, _ in ended})
    lines = ["file".ljust(44) + "".join(name.rjust(14) for name in outcomes)]
    for kind in sorted({trial.kind for trial, _, _ in ended}):
        cells = (str(counts[kind, name] or "").rjust(14) for name in outcomes)
        lines.append(kind.ljust(44) + "".join(cells))
    total = Counter(outcome for _, outcome, _ in ended)
    return "\n".join([*lines, "all".ljust(44) + "".join(f"{total[n]:14}" for n in outcomes)])


def main() -> None:
    """Make the sample, run the trials, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--verb", choices=VERBS, help="Only this verb's trials.")
    asked = parser.parse_args()
    os.environ |= {"OPENAI_API_KEY": KEY, "NO_PROXY": "127.0.0.1", "COLUMNS": "400"}
    sample = asked.out / "sample"
    if not (sample / "stopped").exists():
        shutil.rmtree(sample, ignore_errors=True)
        make_sample(sample)
    every = [t for t in trials(sample) if asked.verb in (None, t.verb)]
    ended = run_trials(sample, asked.out / "trial", chosen(every, asked.limit))
    print(table(ended))
    sys.exit(any(outcome in FAILED for _, outcome, _ in ended))


if __name__ == "__main__":
    main()
