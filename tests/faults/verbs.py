"""What is done to a study while it is damaged: every verb, on a copy, within limits."""

import hashlib
import json
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from hyperfitting.compare.comparison import Comparison
from hyperfitting.models.digests import model_digest
from hyperfitting.runs import StudyFolder
from tests.faults.sample import hyperfit, judge_command
from tests.golden.make_study import opinion
from tests.judge.serving import KEY, serving

LORA, SFT = "study/runs/late_stage_lora-seed-0", "study/runs/hyperfitted-seed-0"
SECONDS, MEMORY = 60, 6 * 2**30  # that one trial may take
# What differs between two runs of a verb on the same files.
VOLATILE = re.compile(
    r'"(seconds|monitor_seconds|peak_bytes|written|first_answer|last_answer|date)": [^,\n]*'
)


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
    return done, tables_and_page(root / "study")


def tables_and_page(study: Path) -> str:
    """What `report` wrote of a study, without its figures."""
    folder = StudyFolder(study)
    pages = [folder.report_file, *sorted(folder.tables.glob("*.csv"))]
    return "".join(re.sub(r"<svg.*?</svg>", "", p.read_text(), flags=re.S) for p in pages)


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
