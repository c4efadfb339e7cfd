"""Runs one training again and again in forked children and kills it at given file operations.

A program of its own: `test_crash.py` starts it, so that no child inherits pytest's threads.
Prints one JSON object: the number of file operations of a whole run, and for every place at which
a child killed itself whether the resumed run ended with the straight run's files.
"""

import json
import os
import re
import signal
import sys
import traceback
from functools import partial
from pathlib import Path

import torch

torch.set_num_threads(1)

import hyperfitting.train.verb as front  # noqa: E402
from hyperfitting import verbs  # noqa: E402
from hyperfitting.config.layers import Layer  # noqa: E402
from hyperfitting.config.resolve import resolve_run  # noqa: E402

OPERATIONS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
# With the digests of files that hold them, and of windows.safetensors, whose header safetensors
# writes in another order in every process; what it holds has digests of its own in the manifest.
TIMES = ("seconds", "monitor_seconds", "prefix_seconds", "peak_bytes", "started", "content_digest",
         "metrics.jsonl", "windows.safetensors")  # fmt: skip


class Places:
    """Counts file operations inside a folder, and dies at one of them."""

    def __init__(self, folder: Path, die_at: int | None) -> None:
        self.folder, self.die_at, self.count = str(folder), die_at, 0
        self.saves: list[tuple[int, str]] = []  # operation and step of each checkpoint's files
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if event not in OPERATIONS or self.folder not in str(arguments[:2]):
            return
        if self.count == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        step = re.search(r"step-\d+", str(arguments[:2]))
        if step:
            self.saves.append((self.count, step[0]))
        self.count += 1


def train(model: str, texts: str, out: Path, resume: bool) -> None:
    settings = {
        "model.name": model,
        "data.source": texts,
        "data.window_tokens": 32,
        "data.context_tokens": 8,
        "data.continuation_tokens": 8,
        "train.method": "late_stage_lora",
        "train.last_blocks": 2,
        "train.learning_rate": 1e-2,
        "train.epochs": 3,
        "train.stop": "epochs",
        "train.batch_size": 2,
        "train.checkpoint_steps": 4,
        "train.lora.rank": 2,
        "train.prefix_cache.place": "disk",
        "monitor.every_epochs": 1,
        "monitor.num_contexts": 2,
    }
    resolved = resolve_run([Layer("test", settings)])
    front.save_run_figure = lambda *_: None  # takes a second, and nothing is resumed from it
    verbs.train(
        resolved.config, out, sources=resolved.sources, cache_folder=out.parent / "cache",
        resume=resume,
    )  # fmt: skip


def in_child(work, die_at=None, folder=None) -> list:
    """What `work` did in a forked child: [ended well, operations, those of saves]."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        places = Places(folder, die_at)
        try:
            work()
            answer = [True, places.count, places.saves]
        except BaseException:
            answer = [False, traceback.format_exc(), []]
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return json.loads(content) if content else [False, "killed", []]


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return value


def result(run: Path) -> dict:
    """Everything a run leaves, apart from clock times."""
    files = {p.name: p.read_bytes().hex() for p in sorted((run / "adapter").iterdir())}
    rows = (run / "metrics.jsonl").read_text().splitlines()
    steps = sorted(p.name for p in (run / "checkpoints").iterdir())
    states = {}
    for step in steps:
        folder = run / "checkpoints" / step
        states[step] = {p.name: p.read_bytes().hex() for p in folder.glob("*.safetensors")}
        states[step]["state"] = json.loads((folder / "state.json").read_text())
        for row in states[step]["state"]["rows"]:
            row.pop("seconds")
    return {
        "files": files,
        "rows": [without_times(json.loads(row)) for row in rows],
        "states": without_times({k: without_times(v["state"]) for k, v in states.items()}),
        "tensors": {k: {n: t for n, t in v.items() if n != "state"} for k, v in states.items()},
        "manifest": without_times(json.loads((run / "manifest.json").read_text())),
        "leftovers": sorted(p.name for p in run.iterdir() if ".tmp" in p.name),
    }


def main() -> None:
    model, texts, work, count = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    straight = work / "straight" / "run"
    well, operations, saves = in_child(
        partial(train, model, texts, straight, False), folder=straight.parent
    )
    assert well, operations
    expected = result(straight)
    # Everything from the second save to the third, and others spread over the whole run.
    steps = list(dict.fromkeys(step for _, step in saves))
    second = [place for place, step in saves if step == steps[1]]
    spread = [round(i * (operations - 1) / (count - 1)) for i in range(count)]
    outcomes = {}
    for place in sorted({*second, *spread}):
        out = work / f"at-{place}" / "run"
        killed = in_child(partial(train, model, texts, out, False), die_at=place, folder=out.parent)
        resumed = in_child(partial(train, model, texts, out, True), folder=out.parent)
        same = resumed[0] and result(out) == expected
        outcomes[place] = [killed[1] == "killed", same, "" if resumed[0] else resumed[1]]
    print(json.dumps({"operations": operations, "of_a_save": len(second), "outcomes": outcomes}))


main()
