"""The model card: its numbers are the study's, and its commands train and decode the same again."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from hyperfitting.export.card import command_of, licence_of, measured
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.runs import RunFolder
from tests.cli.test_cli import hyperfit, train
from tests.export.test_export import export
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory, texts_file):
    base = save_tiny(tmp_path_factory.mktemp("base"))
    (base / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A base\n")
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(base, texts_file, out, "train.lora.rank=2", "train.seed=3").exit_code == 0
    return out


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(run, out)
    result = hyperfit("evaluate", out, "natural_tokens=12", "resamples=200", "sampling_seeds=0")
    assert result.exit_code == 0, result.output
    return out


def front(folder):
    text = folder.card.read_text()
    return yaml.safe_load(text.split("---\n")[1]), text


def test_the_front_names_base_licence_and_library(run, tmp_path):
    folder, about = export(run, tmp_path / "out", format="adapter", base="org/base-1.5B")
    found, text = front(folder)
    assert found["base_model"] == "org/base-1.5B"
    assert found["base_model_relation"] == "adapter"
    assert found["library_name"] == "peft"
    assert found["license"] == about.licence == "cc-by-4.0"
    assert "base-1.5B-late-stage-lora" in text
    assert "was not evaluated" in text
    merged, _ = front(export(run, tmp_path / "merged", license="mit")[0])
    assert (merged["base_model_relation"], merged["license"]) == ("finetune", "mit")
    assert "model-index" not in merged


def test_every_number_of_the_table_is_the_studys(evaluated, tmp_path):
    folder, _ = export(evaluated, tmp_path / "out")
    found, text = front(folder)
    rows = json.loads((evaluated / "measurements.json").read_text())["rows"]
    means = {
        (row["arm"], row["metric"]): row["mean"]
        for row in sorted(rows, key=lambda row: row["prefix"] != "TF")  # its own path last
        if row["parameters"] == {}
    }
    [result] = found["model-index"][0]["results"]
    assert {metric["type"] for metric in result["metrics"]} >= {"ttr", "val_ppl"}
    for metric in result["metrics"]:
        expected = means["late_stage_lora", metric["type"]]
        assert metric["value"] == pytest.approx(expected, abs=1e-4), metric["type"]
    line = next(line for line in text.splitlines() if line.startswith(f"| {METRICS['ttr'].label}"))
    shown = [float(re.match(r"[\d.]+", each.strip())[0]) for each in line.split("|")[2:5]]
    assert shown == [
        pytest.approx(means[arm, "ttr"], abs=5e-4)
        for arm in ("human", "original", "late_stage_lora")
    ]
    assert f"Perplexity on held-out texts: {means['late_stage_lora', 'val_ppl']:,.0f}" in text


def test_a_run_in_a_study_has_the_studys_numbers(evaluated, run, tmp_path):
    study = tmp_path / "study"
    other = study / "runs" / "late_stage_lora-seed-3"
    shutil.copytree(run, other)
    assert measured(RunFolder(other)) is None
    result = hyperfit(
        "evaluate", other, "--out", study, "natural_tokens=12", "resamples=200", "sampling_seeds=0"
    )
    assert result.exit_code == 0, result.output
    found = measured(RunFolder(other))
    alone = measured(RunFolder(evaluated))
    assert found.arm == alone.arm
    assert found.value(found.arm, "ttr") == alone.value(alone.arm, "ttr")


def test_the_command_trains_the_same_again(run, tmp_path):
    manifest = RunFolder(run).manifest()
    base, source = manifest.settings.model.name, manifest.settings.data.source
    command = shlex.split(command_of(manifest, base))
    assert command[:4] == ["hyperfit", "train", base, "--data"]
    assert command[4] == Path(source).name  # where it lies here is nothing to others
    command[4] = source
    command[command.index("--out") + 1] = str(tmp_path / "again")
    assert hyperfit(*command[1:]).exit_code == 0
    first, again = (json.loads((each / "manifest.json").read_text())
                    for each in (run, tmp_path / "again"))  # fmt: skip
    assert again["config"] == first["config"]
    assert again["training"]["final_loss"] == first["training"]["final_loss"]


def test_a_strength_that_was_not_measured_has_no_results(evaluated, tmp_path):
    found, text = front(export(evaluated, tmp_path / "out", strength=0.5)[0])
    assert "model-index" not in found
    assert "these weights hold 0.5 times" in text


def test_a_card_of_somebody_else_that_says_nothing_of_use(tmp_path):
    base = save_tiny(tmp_path / "base")
    for content in ("---\nlicense: [mit, apache-2.0]\n---\n", "---\na: [\n---\n", "no front"):
        (base / "README.md").write_text(content)
        assert licence_of(str(base)) is None


def test_a_base_without_a_card_has_no_licence(tmp_path):
    assert licence_of(str(save_tiny(tmp_path / "base"))) is None
    assert licence_of("nobody/has-this") is None
    assert licence_of("builtin") == "apache-2.0"


def test_what_texts_and_names_bring_along_stays_text(run, tmp_path):
    _, text = front(export(run, tmp_path / "out", base="a/b\x1b[31m")[0])
    assert "\x1b" not in text
