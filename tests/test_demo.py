"""The whole demo in small: every arm, every file, the same numbers when it is stopped."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hyperfitting.demo
from hyperfitting.cli.main import app
from hyperfitting.runs import RunFolder
from hyperfitting.train.verb import train

SMALL = [
    "data.num_train=8",
    "data.num_heldout=6",
    "data.continuation_tokens=24",
    "train.epochs=2",
    "monitor.every_epochs=1",
    "monitor.num_contexts=2",
    "evaluate.natural_tokens=32",
    "evaluate.resamples=500",
    "explain.strengths=[0.5]",
    "explain.swap_blocks=[0, 5, 12]",
    "explain.resamples=200",
]


TWO = [each for each in SMALL if not each.startswith("explain")]
TWO += ["methods=[full_sft,full_lora]", "nulls=[]", "explain.only=[provenance]"]
STAGES = ("train", "evaluate", "explain", "report")


def stop(*_args, **_options):
    raise KeyboardInterrupt


def run_demo(out: Path, settings=SMALL):
    words = ["demo", "--out", str(out), *settings]
    return CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "first"
    result = run_demo(out)
    assert result.exit_code == 0, result.output
    return out, result


def test_it_leaves_a_study(demo):
    out, _ = demo
    assert {p.name for p in (out / "runs").iterdir()} == {
        "hyperfitted-seed-0", "full_lora-seed-0", "late_stage_lora-seed-0",
        "hyperfitted-shuffled-seed-0",
    }  # fmt: skip
    content = json.loads((out / "measurements.json").read_text())
    arms = {"human", "original", "hyperfitted", "full_lora", "late_stage_lora"}
    assert {row["arm"] for row in content["rows"]} >= arms | {"original_entropy_matched"}
    for row in content["rows"]:
        if row["mean"] is None:
            assert row["reason"]
        else:
            assert math.isfinite(row["mean"])
            assert row["n"] == 6
            if row["low"] is None:  # of all texts together
                assert row["reason"]
            else:
                assert row["low"] <= row["mean"] <= row["high"]
    assert content["tests"]
    assert (out / "report" / "report.html").stat().st_size > 20_000


def test_it_runs_the_controls_on_the_fully_tuned_arm(demo):
    for part in ("geometry", "provenance", "static_bias", "block_swap", "tokens"):
        content = json.loads((demo[0] / "explain" / f"{part}.json").read_text())
        assert [arm["arm"] for arm in content["arms"]] == ["hyperfitted"]


def test_cached_decoding_equals_one_uncached_pass(demo):
    entries = json.loads((demo[0] / "study.json").read_text())["generations"]
    shares = [e["cached_equals_uncached"] for e in entries if e["cached_equals_uncached"]]
    assert set(shares) == {1.0}
    assert len(shares) >= 4


def test_the_terminal_shows_arms_texts_times_and_the_report(demo):
    out, result = demo
    assert "training on 8 of" in result.stderr
    for text in ("original", "hyperfitted", "TTR", "time ", str(out / "report" / "report.html")):
        assert text in result.stdout


def test_one_that_is_stopped_again_and_again_gives_the_same_numbers(monkeypatch, tmp_path):
    """In its second training, and where each later stage begins."""
    first, out = tmp_path / "first", tmp_path / "second"
    assert run_demo(first, TWO).exit_code == 0

    def stopped_in_the_second(config, run, *args, **options):
        if "full_lora" in str(run):  # it leaves its manifest
            monkeypatch.setattr("hyperfitting.train.loop.Trainer.run", stop)
        return train(config, run, *args, **options)

    patches = {"train": stopped_in_the_second} | dict.fromkeys(STAGES[1:], stop)
    for stage, patch in patches.items():
        with monkeypatch.context() as patched:
            patched.setattr(hyperfitting.demo, stage, patch)
            result = run_demo(out, TWO)
        monkeypatch.undo()
        assert result.exit_code == 130, result.output
        assert result.stderr.endswith("continue with: the same command\n")
    assert [RunFolder(run).started().status for run in (out / "runs").iterdir()] == ["complete"] * 2
    for done in STAGES[:-1]:
        monkeypatch.setattr(hyperfitting.demo, done, None)  # is not done again
    result = run_demo(out, TWO)
    assert result.exit_code == 0, result.output
    assert f"going on in {out}" in result.stderr
    for path in [first / "measurements.json", *sorted((first / "generations").iterdir())]:
        assert (out / path.relative_to(first)).read_text() == path.read_text()
    names = {path.name for path in (first / "explain").glob("*.json")}
    assert {path.name for path in (out / "explain").glob("*.json")} == names
