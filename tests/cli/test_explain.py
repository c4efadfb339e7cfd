"""`explain`, and both verbs on checkpoints that nobody here trained."""

import json
import shutil

import pytest
import torch

from hyperfitting.records.controls import RECORDS
from tests.cli.test_cli import hyperfit, train
from tests.tiny import byte_tokenizer, save_tiny, tiny_model

TEXTS = [
    "data.window_tokens=48", "data.context_tokens=8", "data.continuation_tokens=24",
    "data.num_heldout=5",
]  # fmt: skip
QUICK = ["resamples=200", "strengths=[0.5, 1]", "random_draws=1", "promoted_tokens=9"]
PARTS = set(RECORDS)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, model_folder, texts_file):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(model_folder, texts_file, out).exit_code == 0
    return out


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A checkpoint of the tiny model's architecture whose last block differs."""
    folder = tmp_path_factory.mktemp("other")
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight.add_(0.5)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_a_run_is_explained_before_and_after_it_is_evaluated(run_folder):
    result = hyperfit("explain", run_folder, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == PARTS
    assert not (run_folder / "report").exists(), "nothing to report without measurements"
    assert hyperfit("evaluate", run_folder, "natural_tokens=0", "resamples=200").exit_code == 0
    result = hyperfit("explain", run_folder, *QUICK)
    assert result.exit_code == 0, result.output
    assert (run_folder / "report" / "report.html").exists()
    for part in PARTS:
        content = json.loads((run_folder / "explain" / f"{part}.json").read_text())
        assert [arm["arm"] for arm in content["arms"]] == ["late_stage_lora"]


def test_any_two_checkpoints(model_folder, other, texts_file, tmp_path):
    out = tmp_path / "study"
    both = ("--base", model_folder, "--tuned", other, "--data", texts_file, "--out", out)
    result = hyperfit("evaluate", *both, *TEXTS, "natural_tokens=16", "resamples=200", "--json")
    assert result.exit_code == 0, result.output
    arms = {row["arm"] for row in json.loads(result.stdout)["rows"]}
    assert {"human", "original", "tuned", "original_entropy_matched"} <= arms
    result = hyperfit("explain", *both, *TEXTS, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    swap = json.loads(result.stdout)["block_swap"]["arms"][0]
    assert (swap["arm"], swap["shared_blocks"]) == ("tuned", 2)


def test_an_adapter_brings_its_base(run_folder, texts_file, tmp_path):
    out = tmp_path / "study"
    result = hyperfit(
        "evaluate", "--tuned", run_folder / "adapter", "--data", texts_file, "--out", out,
        *TEXTS, "natural_tokens=0", "sampling_seeds=0", "resamples=200",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    own = json.loads((run_folder / "measurements.json").read_text())["rows"]
    found = json.loads((out / "measurements.json").read_text())["rows"]
    for metric in ("ttr", "top1_agreement_tf", "val_loss"):
        value = {r["arm"]: r["mean"] for r in found if r["metric"] == metric}
        expected = {r["arm"]: r["mean"] for r in own if r["metric"] == metric}
        assert value["tuned"] == pytest.approx(expected["late_stage_lora"])


def refused(*arguments):
    result = hyperfit(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.mark.parametrize("verb", ["evaluate", "explain"])
def test_bad_input_of_checkpoints(verb, model_folder, other, texts_file, run_folder, tmp_path):
    out = tmp_path / "study"
    rest = ("--data", texts_file, "--out", out, *TEXTS)
    assert "--data and --out is missing" in refused(verb, "--base", model_folder, "--tuned", other)
    assert "--tuned is missing" in refused(verb, "--base", model_folder, *rest)
    assert "does not name its base" in refused(verb, "--tuned", other, *rest)
    both = ("--base", model_folder, "--tuned", other)
    assert "both a run" in refused(verb, run_folder, *both, *rest)
    narrow = save_tiny(tmp_path / "narrow")
    tiny_model(intermediate_size=20).save_pretrained(narrow)
    # Before anything is computed: the default length of natural texts would not fit this model.
    assert "intermediate_size" in refused(verb, "--base", model_folder, "--tuned", narrow, *rest)
    foreign = save_tiny(tmp_path / "foreign", unnamed=["<x>"])
    assert "tokenizers" in refused(verb, "--base", model_folder, "--tuned", foreign, *rest)
    adapter = tmp_path / "adapter"
    shutil.copytree(run_folder / "adapter", adapter)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(tmp_path / "nowhere")
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    assert "nowhere does not exist" in refused(verb, "--tuned", adapter, *rest)
    assert "unknown" in refused(verb, *both, *rest, "resample=3").lower()
    long = [str(t).replace("continuation_tokens=24", "continuation_tokens=4000") for t in rest]
    assert "held-out documents of at least" in refused(verb, *both, *long)
    assert not out.exists(), "nothing is left behind"


def test_explaining_nothing_says_what_is_needed(tmp_path):
    assert "no folder is given" in refused("explain")
    assert "holds no run" in refused("explain", tmp_path)


def test_settings_of_explain_are_listed():
    result = hyperfit("config", "show", "explain", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["promoted_tokens"]["value"] == 500
