"""Damage every kind of file of a study in every way, and see what the verbs say.

    python -m tests.faults.damage OUT [--limit N] [--verb V] [--part 1/2]

Makes a small study in OUT once, then runs every trial on a copy. A trial ends well where the verb
refuses with a message that names the file or its folder, recovers and says so, or writes what it
writes without the damage. It fails with a traceback, with a refusal that names nothing, or in
silence: other numbers and not a word. What has ended stands in `ended.jsonl`, and the same command
goes on. Exit code 1 where a trial fails; all of them take about an hour on one core.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.kinds import DAMAGES
from tests.faults.sample import make_sample
from tests.faults.verbs import LORA, SFT, VERBS, OpenedError, copy, observe
from tests.judge.serving import KEY

FAILED = ("TRACEBACK", "UNNAMED", "SILENT")
OPTIONAL = {"results.json", "answers.jsonl"}  # a study without them is one that was not judged


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


def run_trials(
    sample: Path, scratch: Path, some: Sequence[Trial], ended_file: Path
) -> list[tuple[Trial, str]]:
    """Every trial with its outcome; those that stand in the file are not run again."""
    ended = _ended(ended_file)
    waiting = [trial for trial in some if trial not in ended]
    expected: dict[str, str] = {}
    for verb in dict.fromkeys(trial.verb for trial in waiting):
        copy(sample, scratch)
        done, expected[verb], _ = observe(verb, scratch)
        assert isinstance(done.exception, OpenedError) or done.exit_code == 0, done.output
    with ended_file.open("a") as file:
        for trial in waiting:
            ended[trial], text = attempt(trial, sample, scratch, expected[trial.verb])
            print(json.dumps([asdict(trial), ended[trial], text]), file=file, flush=True)
            if ended[trial] in FAILED:
                print(f"\n{ended[trial]}: {trial}\n{text}", flush=True)
    return [(trial, ended[trial]) for trial in some]


def _ended(file: Path) -> dict[Trial, str]:
    """What has ended, but for what failed: that is tried again."""
    lines = file.read_text().splitlines() if file.exists() else []
    rows = [(Trial(**trial), outcome) for trial, outcome, _ in map(json.loads, lines)]
    return {trial: outcome for trial, outcome in rows if outcome not in FAILED}


def table(ended: Sequence[tuple[Trial, str]]) -> str:
    """How many trials of each kind of file had each outcome."""
    counts = Counter((trial.kind, outcome) for trial, outcome in ended)
    outcomes = sorted({outcome for _, outcome in ended})
    lines = ["file".ljust(44) + "".join(name.rjust(14) for name in outcomes)]
    for kind in sorted({trial.kind for trial, _ in ended}):
        cells = (str(counts[kind, name] or "").rjust(14) for name in outcomes)
        lines.append(kind.ljust(44) + "".join(cells))
    total = Counter(outcome for _, outcome in ended)
    return "\n".join([*lines, "all".ljust(44) + "".join(f"{total[n]:14}" for n in outcomes)])


def main() -> None:
    """Make the sample, run the trials, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--verb", choices=VERBS, help="Only this verb's trials.")
    parser.add_argument("--part", default="1/1", help="2/3: the second third of them.")
    asked = parser.parse_args()
    os.environ |= {"OPENAI_API_KEY": KEY, "NO_PROXY": "127.0.0.1", "COLUMNS": "400"}
    sample = asked.out / "sample"
    if not (sample / "stopped").exists():
        shutil.rmtree(sample, ignore_errors=True)
        make_sample(sample)
    part, parts = map(int, asked.part.split("/"))
    every = [t for t in trials(sample) if asked.verb in (None, t.verb)]
    some = chosen(every, asked.limit)[part - 1 :: parts]
    place = asked.out / f"part-{part}-of-{parts}"
    place.mkdir(exist_ok=True)
    ended = run_trials(sample, place / "trial", some, place / "ended.jsonl")
    print(table(ended))
    sys.exit(any(outcome in FAILED for _, outcome in ended))


if __name__ == "__main__":
    main()
