"""Every benchmark runs in its quick form: those for a GPU are tried nowhere else before."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
METHODS = ["late_half_sft", "late_stage_lora", "full_sft", "plain_lora", "plain_sft"]


def quick(name, *options):
    """What a benchmark found."""
    command = [sys.executable, BENCHMARKS / name, "--quick", "--json", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS.parent / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_training_as_on_a_gpu():
    rows = quick("gpu_train.py", "--methods", *METHODS)["rows"]
    assert [row["method"] for row in rows] == METHODS
    assert [row.get("error") for row in rows] == [None] * len(METHODS)
    assert all(row["tokens_per_second"] > 0 for row in rows)
    first, last = rows[0]["train_loss"][0], rows[0]["train_loss"][-1]
    assert last < first


def test_hybrids():
    assert quick("hybrids.py")["equal_texts"] == 1


def test_evaluation():
    assert quick("evaluate.py")["largest_difference_2k"] < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["decode.py", "import_time.py", "loss_memory.py", "real_shapes.py", "train_step.py"],
)
def test_others(name):
    if name in ("real_shapes.py", "train_step.py"):
        pytest.importorskip("trl")
    assert quick(name)
