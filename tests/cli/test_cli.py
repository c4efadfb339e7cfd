"""The commands as a user types them, on a tiny model: results, exit codes, nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from hyperfitting.cli.main import app
from tests.sealing import rewrite
from tests.tiny import save_tiny

SMALL = [
    "data.window_tokens=48",
    "data.context_tokens=8",
    "data.continuation_tokens=24",
    "data.num_heldout=5",
    "train.epochs=2",
    "train.batch_size=4",
    "monitor.every_epochs=1",
    "monitor.num_contexts=2",
]


def latest(*arguments):
    """Arguments without the settings that a later one replaces."""
    keys = [str(a).partition("=")[0] if "=" in str(a) else None for a in arguments]
    return [a for n, a in enumerate(arguments) if keys[n] is None or keys[n] not in keys[n + 1 :]]


def hyperfit(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def train(model, data, out, *more, method="late_stage_lora"):
    blocks = [] if "--last-blocks" in more or method != "late_stage_lora" else ["--last-blocks", 2]
    where = [model, "--data", data, "--out", out, "--method", method]
    return hyperfit("train", *where, *latest(*SMALL, *blocks, *more))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, model_folder, texts_file):
    out = tmp_path_factory.mktemp("runs") / "run"
    result = train(model_folder, texts_file, out, "--last-blocks", 2)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def evaluated(run_folder):
    result = hyperfit("evaluate", run_folder, "natural_tokens=32", "resamples=200")
    assert result.exit_code == 0, result.output
    return result


def test_training_leaves_a_complete_run(run_folder):
    manifest = json.loads((run_folder / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["arm"] == "late_stage_lora"
    assert manifest["trainable"]["blocks_0_based"] == [1, 2]
    assert manifest["trainable"]["blocks_1_based"] == [2, 3]
    assert manifest["config_sources"]["train.last_blocks"] == "flag --last-blocks"
    assert manifest["training"]["epochs"] == 2
    interval = manifest["training"]["final_loss_interval"]
    assert interval["low"] <= manifest["training"]["final_loss"] <= interval["high"]
    assert interval["n"] == manifest["data_account"]["training_windows"]
    account = manifest["data_account"]
    assert (account["duplicate"], account["empty"], account["too_short"]) == (1, 1, 1)
    epochs = [json.loads(line)["epoch"] for line in (run_folder / "metrics.jsonl").open()]
    assert epochs == [0, 1, 2]
    assert {p.name for p in (run_folder / "adapter").iterdir()} >= {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    assert not list(run_folder.rglob("*.bin"))


def test_the_best_validation_loss_is_in_the_manifest(run_folder):
    training = json.loads((run_folder / "manifest.json").read_text())["training"]
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").open()]
    lowest = min(rows[1:], key=lambda row: row["val_loss"])
    assert training["best_val_loss"] == lowest["val_loss"]
    assert (training["best_val_step"], training["best_val_epoch"]) == (
        lowest["step"], lowest["epoch"],
    )  # fmt: skip
    assert (run_folder / "checkpoints" / f"step-{training['best_val_step']}").is_dir()


def test_the_first_blocks_are_in_the_manifest(model_folder, texts_file, tmp_path):
    out = tmp_path / "run"
    result = train(model_folder, texts_file, out, "--first-blocks", 2, method="early_stage_lora")
    assert result.exit_code == 0, result.output
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["arm"] == "early_stage_lora"
    assert manifest["trainable"]["blocks_0_based"] == [0, 1]
    assert manifest["trainable"]["blocks_1_based"] == [1, 2]
    assert manifest["config_sources"]["train.first_blocks"] == "flag --first-blocks"


def test_a_lone_run_becomes_a_study_of_one(run_folder, evaluated):
    study = json.loads((run_folder / "study.json").read_text())
    assert [run["path"] for run in study["runs"]] == ["."]
    measured = json.loads((run_folder / "measurements.json").read_text())
    assert {row["arm"] for row in measured["rows"]} == {
        "human", "original", "original_sampled", "original_entropy_matched",
        "original_entropy_matched_sampled", "late_stage_lora", "late_stage_lora_sampled",
    }  # fmt: skip
    for row in measured["rows"]:
        assert row["n"] == 5 or row["reason"]
    table = pyarrow.parquet.read_table(run_folder / "per_context.parquet").to_pylist()
    assert {row["context"] for row in table} == set(range(5))
    original = [r for r in table if (r["arm"], r["metric"]) == ("original", "top1_agreement_op")]
    assert [row["value"] for row in original] == [1.0] * 5
    assert "n = 5 held-out contexts" in evaluated.stdout
    assert (run_folder / "report" / "report.html").exists()


def test_the_report_rebuilds_from_the_folder_alone(run_folder, evaluated, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run_folder, moved)
    before = (moved / "report" / "report.html").read_text()
    shutil.rmtree(moved / "report")
    result = hyperfit("report", moved, "--json")
    assert json.loads(result.stdout)["reports"] == [str(moved / "report" / "report.html")]
    assert (moved / "report" / "report.html").read_text() == before


def test_several_runs_are_compared_in_a_folder_of_their_own(
    run_folder, model_folder, texts_file, tmp_path
):
    other = tmp_path / "full"
    assert train(model_folder, texts_file, other, method="full_sft").exit_code == 0
    assert hyperfit("evaluate", run_folder, other).exit_code == 2
    out = tmp_path / "study"
    result = hyperfit(
        "evaluate", run_folder, other, "--out", out, "natural_tokens=0", "resamples=200", "--json"
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert {"late_stage_lora", "hyperfitted"} <= {row["arm"] for row in rows}
    assert "ended_rate" not in {row["metric"] for row in rows}
    again = hyperfit("evaluate", out, "natural_tokens=0", "resamples=200", "--json")
    assert json.loads(again.stdout)["rows"] == rows


def test_training_as_json(model_folder, texts_file, tmp_path):
    result = train(model_folder, texts_file, tmp_path / "run", "--json")
    assert json.loads(result.stdout)["status"] == "complete"


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
@pytest.mark.parametrize("method", ["full_sft", "full_lora", "late_stage_lora", "early_stage_lora"])
def test_other_architectures(tmp_path, texts_file, family, method):
    model = save_tiny(tmp_path / "model", family)
    out = tmp_path / "run"
    more = ["monitor.every_epochs=0", "train.stop=epochs"]
    more += ["--first-blocks", 2] if method == "early_stage_lora" else []
    assert train(model, texts_file, out, *more, method=method).exit_code == 0
    result = hyperfit("evaluate", out, "natural_tokens=8", "resamples=100")
    assert result.exit_code == 0, result.output


def test_chat_data_end_to_end(tmp_path):
    model = save_tiny(tmp_path / "model", chat=True)
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"question {i * 7919}"},
                {"role": "assistant", "content": f"answer {i} " + "abc defg"[i % 5 :] * 4},
            ]
        }
        for i in range(12)
    ]
    data = tmp_path / "chat.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "run"
    more = ["--windows", "documents", "--loss-on", "assistant", "data.window_tokens=90"]
    result = train(model, data, out, *more)
    assert result.exit_code == 0, result.output
    result = hyperfit("evaluate", out, "natural_tokens=16", "resamples=100")
    assert result.exit_code == 0, result.output


REFUSALS = {
    "unknown model folder": (["MODEL=./none"], "model folder ./none does not exist"),
    "unknown method": (["--method", "late_lora"], "did you mean 'late_stage_lora'"),
    "last blocks out of range": (["--last-blocks", "4"], "--last-blocks is 4, the model has 3"),
    "last blocks below range": (["--last-blocks", "0"], "'train.last_blocks' is 0"),
    "missing data": (["--data", "./none.jsonl"], "none.jsonl does not exist"),
    "wrong column": (["--text-field", "story"], "its columns are: 'text', 'id'"),
    "too short": (["data.window_tokens=500"], "the longest has 147 tokens"),
    "too few": (["data.num_heldout=30"], "20 usable documents"),
    "window beyond the model": (
        ["data.window_tokens=130", "train.batch_size=1"],
        "has positions for 128",
    ),
    "unknown setting": (["train.epoch=3"], "did you mean 'train.epochs'"),
    "no device": (["--device", "cuda"], "no CUDA device"),
    "no data": (["--data", ""], "'data.source' is ''"),
    "plateau unseen": (["train.stop=ttr_plateau", "monitor.every_epochs=0"], "measures no TTR"),
    "plateau seldom seen": (
        ["train.stop=ttr_plateau", "train.epochs=100", "monitor.every_epochs=10"],
        "train.epochs=100 and monitor.every_epochs=10 give 10",
    ),
    "plateau without texts": (
        ["train.stop=ttr_plateau", "monitor.num_contexts=0"],
        "num_contexts=0 measures no TTR",
    ),
    "too few windows": (
        ["train.batch_size=16"],
        "training windows: 15, and a step takes 16",
    ),
    "no gpu for the cache": (["--prefix-cache", "gpu"], "--prefix-cache is gpu, but the run is on"),
    "unknown place": (["--prefix-cache", "tape"], "one of auto, gpu, ram, disk, off"),
    "first blocks of a late stage": (
        ["--first-blocks", "2"],
        "'train.first_blocks' (flag --first-blocks) does not apply to late_stage_lora",
    ),
    "unknown preset": (["--preset", "papre"], "did you mean 'paper'"),
    "preset of another method": (["--preset", "carlsson"], "is a protocol of full_sft, not of"),
    "dora with pissa": (["train.lora.dora=true", "train.lora.init=pissa"], "both set"),
    "rate too small": (["train.learning_rate=1e-12"], "trained weights would not move"),
    "tracker missing": (["--track", "trackio"], "pip install trackio"),
    "quantised, no package": (["model.quantization=nf4"], "hyperfitting[quantized]"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_wrong_input_exits_with_2_and_writes_nothing(name, model_folder, texts_file, tmp_path):
    changes, message = REFUSALS[name]
    model = model_folder
    if changes[0].startswith("MODEL="):
        model, changes = changes[0].removeprefix("MODEL="), []
    if name == "no device":
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device")
    out = tmp_path / "run"
    result = train(model, texts_file, out, *changes)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not out.exists()


@pytest.mark.parametrize(
    ("setting", "value"), [("train.lora.rank", 4), ("train.prefix_cache.place", "ram")]
)
def test_settings_that_a_method_would_ignore(model_folder, texts_file, tmp_path, setting, value):
    change = f"{setting}={value}"
    result = train(model_folder, texts_file, tmp_path / "run", change, method="full_sft")
    assert result.exit_code == 2
    assert f"{setting!r} (override) does not apply to full_sft" in result.stderr


@pytest.mark.parametrize(
    ("count", "message"),
    [(4, "--first-blocks is 4, the model has 3"), (0, "'train.first_blocks' is 0")],
)
def test_first_blocks_out_of_range(model_folder, texts_file, tmp_path, count, message):
    out = tmp_path / "run"
    more = ["--first-blocks", count]
    result = train(model_folder, texts_file, out, *more, method="early_stage_lora")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not out.exists()


def test_a_taken_folder_is_left_as_it_is(run_folder, model_folder, texts_file):
    before = sorted((p, p.stat().st_mtime_ns) for p in run_folder.rglob("*"))
    result = train(model_folder, texts_file, run_folder)
    assert result.exit_code == 2
    assert "another run" in result.stderr or "a study" in result.stderr
    assert sorted((p, p.stat().st_mtime_ns) for p in run_folder.rglob("*")) == before


def test_another_base_model_is_noticed(run_folder, tmp_path, model_folder):
    moved = tmp_path / "run"
    shutil.copytree(run_folder, moved)
    other = save_tiny(tmp_path / "model", "qwen2")
    manifest = json.loads((moved / "manifest.json").read_text())
    manifest["config"]["model"]["name"] = str(other)
    rewrite(moved / "manifest.json", lambda _: manifest)
    result = hyperfit("evaluate", moved)
    assert result.exit_code == 2
    assert "is not the one the run was trained with" in result.stderr


def test_runs_on_other_windows_are_not_compared(run_folder, model_folder, texts_file, tmp_path):
    other = tmp_path / "other"
    more = ["--windows", "documents", "data.num_train=4"]
    assert train(model_folder, texts_file, other, *more, method="full_lora").exit_code == 0
    result = hyperfit("evaluate", run_folder, other, "--out", tmp_path / "study")
    assert result.exit_code == 2
    assert "different held-out" in result.stderr
    assert not (tmp_path / "study").exists()


def test_fewer_training_windows_are_told_apart(run_folder, model_folder, texts_file, tmp_path):
    other, out = tmp_path / "other", tmp_path / "study"
    assert (
        train(model_folder, texts_file, other, "data.num_train=4", method="full_lora").exit_code
        == 0
    )
    fast = ["natural_tokens=0", "resamples=100"]
    assert hyperfit("evaluate", run_folder, other, "--out", out, *fast).exit_code == 0
    study = json.loads((out / "study.json").read_text())
    assert [run["num_train"] for run in study["runs"]] == [15, 4]


def test_a_run_folder_cannot_ask_to_be_trusted(run_folder, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(run_folder, moved)
    code = tmp_path / "code"
    shutil.copytree(
        json.loads((moved / "manifest.json").read_text())["config"]["model"]["name"], code
    )
    settings = json.loads((code / "config.json").read_text())
    settings["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    settings["model_type"] = "evil"
    (code / "config.json").write_text(json.dumps(settings))
    (code / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    manifest = json.loads((moved / "manifest.json").read_text())
    manifest["config"]["model"] |= {"name": str(code), "trust_remote_code": True}
    rewrite(moved / "manifest.json", lambda _: manifest)
    assert hyperfit("evaluate", moved).exit_code == 2
    assert not (tmp_path / "ran").exists()


def test_a_run_is_judged_from_any_folder(model_folder, texts_file, tmp_path, monkeypatch):
    monkeypatch.chdir(model_folder.parent)
    out = tmp_path / "run"
    assert train(f"./{model_folder.name}", texts_file, out).exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert hyperfit("evaluate", "run", "natural_tokens=0", "resamples=100").exit_code == 0


def test_the_demo_checks_lengths_before_it_trains(model_folder, texts_file, tmp_path):
    out = tmp_path / "demo"
    result = hyperfit(
        "demo", "--out", out, f"model.name={model_folder}", f"data.source={texts_file}",
        "data.num_train=4", "evaluate.natural_tokens=200",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "has positions for 128" in result.stderr
    assert not out.exists()


def test_commands_without_a_folder_say_so():
    for verb in ("evaluate", "report"):
        result = hyperfit(verb, "seed=1")
        assert result.exit_code == 2
        assert "no folder is given" in result.stderr


def test_what_is_no_run_is_refused(tmp_path):
    result = hyperfit("evaluate", tmp_path)
    assert result.exit_code == 2
    assert "holds no run" in result.stderr
    assert hyperfit("report", tmp_path).exit_code == 2


def test_config_show_names_every_source():
    result = hyperfit("config", "show", "train", "model.name=builtin", "train.method=full_sft")
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "(override)" in lines["train.method"]
    assert "(tuned for builtin)" in lines["train.learning_rate"]
    assert "(required, not given)" in lines["data.source"]
    assert "(default)" in lines["train.first_blocks"]
    assert "(default)" in lines["train.order_seed"]
    shown = json.loads(hyperfit("config", "show", "demo", "--json").stdout)
    assert not any(key.startswith("train.first_blocks") for key in shown)
    assert shown["data.source"] == {"value": "builtin:fiction", "source": "demo"}


@pytest.mark.parametrize("verb", ["demo", "train", "evaluate", "report"])
def test_every_verb_has_help_with_an_example(verb):
    result = hyperfit(verb, "--help")
    assert result.exit_code == 0
    assert f"Example: hyperfit {verb}" in result.stdout


def test_an_internal_failure_exits_with_1(tmp_path):
    code = "from hyperfitting.cli import main, demo; import hyperfitting.verbs as v\n"
    code += "def broken(*a, **k): raise RuntimeError('bug')\n"
    code += "v.demo = broken; import sys; sys.argv = ['hyperfit', 'demo']; main.main()"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )  # fmt: skip
    assert result.returncode == 1
    assert "bug" in result.stderr
