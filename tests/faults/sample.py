"""A small study of two runs, evaluated, explained and judged, and a run that stopped."""

import shutil
from pathlib import Path

from typer.testing import CliRunner, Result

from hyperfitting.cli.main import app
from hyperfitting.records.record import write_file
from hyperfitting.runs import RunFolder
from tests.golden.make_study import opinion
from tests.judge.serving import KEY, serving

TRAIN = [
    "data.num_train=4", "data.num_heldout=4", "data.window_tokens=24", "data.context_tokens=8",
    "data.continuation_tokens=8", "train.epochs=4", "train.batch_size=2", "train.stop=epochs",
    "monitor.every_epochs=2", "monitor.num_contexts=2", "monitor.num_windows=2",
]  # fmt: skip
EVALUATE = ["natural_tokens=10", "sampling_seeds=1", "resamples=100", "best_val=true"]
EXPLAIN = [
    "resamples=100", "strengths=[1.0]", "random_draws=1", "swap_blocks=[0, 11]", "swap_contexts=2",
]  # fmt: skip
ARMS = {"late_stage_lora": "late_stage_lora", "full_sft": "hyperfitted"}


def hyperfit(*arguments: str) -> Result:
    """Run one command in this process."""
    return CliRunner().invoke(app, list(arguments))


def must(*arguments: str) -> None:
    """Run one command that has to succeed."""
    done = hyperfit(*arguments)
    assert done.exit_code == 0, (arguments, done.output, done.exception)


def judge_command(study: str, url: str) -> list[str]:
    """How a study of the sample is judged."""
    return ["judge", study, "--a", "hyperfitted", "--b", "original", "--endpoint", url,
            "--model", "scripted", "--pairs", "3"]  # fmt: skip


def make_sample(out: Path) -> None:
    """Write `out/study` with its runs, and `out/stopped`."""
    study = out / "study"
    folders = []
    for method, arm in ARMS.items():
        folder = str(study / "runs" / f"{arm}-seed-0")
        must("train", "builtin", "--data", "builtin:fiction", "--method", method, "--out", folder,
             *TRAIN)  # fmt: skip
        folders.append(folder)
    must("evaluate", *folders, "--out", str(study), *EVALUATE)
    must("explain", str(study), *EXPLAIN)
    with serving(key=KEY, answer=opinion) as server:
        must(*judge_command(str(study), server.url))
    must("report", str(study))
    _stop(Path(folders[0]), out / "stopped")


def _stop(complete: Path, stopped: Path) -> None:
    """A copy of a run as it was before its last epochs."""
    shutil.copytree(complete, stopped)
    run = RunFolder(stopped)
    manifest = run.manifest().model_copy(
        update={"status": "training", "training": None, "files": {}}
    )
    write_file(run.manifest_file, manifest)
    shutil.rmtree(run.adapter)
    steps = sorted(run.checkpoints.glob("step-*"), key=lambda path: int(path.name[5:]))
    shutil.rmtree(steps[-1])
