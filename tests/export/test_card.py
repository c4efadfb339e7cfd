"""The model card: its numbers are the study's, and its commands train and decode the same again."""

import contextlib
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from transformers import GenerationConfig

from hyperfitting import verbs
from hyperfitting.config import GenerateConfig, ModelConfig
from hyperfitting.config.export import ExportConfig
from hyperfitting.errors import DeniedError
from hyperfitting.export import verb
from hyperfitting.export.card import command_of, licence_of, measured
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.models.merged import greedy_settings
from hyperfitting.runs import RunFolder
from tests.cli.test_cli import hyperfit, train
from tests.comparing import Said
from tests.export.test_export import export
from tests.tiny import save_tiny, tiny_model


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


def test_how_many_texts_loop_is_said_as_it_was_measured(run, evaluated, tmp_path):
    folder, about = export(evaluated, tmp_path / "out")
    rows = json.loads((evaluated / "measurements.json").read_text())["rows"]
    before, after = (
        next(r["mean"] for r in rows if r["arm"] == arm and r["metric"] == "looped_rate")
        for arm in ("original", "late_stage_lora")
    )
    _, text = front(folder)
    assert f"Of its greedy texts {after:.0%} loop, of its base's {before:.0%}." in text
    assert "no longer loops" not in text
    folder, about = export(run, tmp_path / "unmeasured")
    share = about.verification.texts.export.looped
    _, text = front(folder)
    assert f"Of {share.n} greedy texts that it wrote for a check {share.value:.0%} loop." in text


def test_a_run_of_the_builtin_model_is_trained_again_by_its_name(run):
    """By the path where the package keeps it, other recipes would hold."""
    found = RunFolder(run).manifest()
    config = found.config | {"model": found.config["model"] | {"name": "builtin"}}
    builtin = found.model_copy(update={"config": config})
    assert command_of(builtin, "/site-packages/builtin").startswith("hyperfit train builtin ")
    assert command_of(found, "org/base").startswith("hyperfit train org/base ")


def test_a_run_that_cannot_be_written_to_is_exported_all_the_same(run, tmp_path, monkeypatch):
    def denied(path, content, own=verb.write_file):
        if path.is_relative_to(run):
            raise DeniedError(f"{path} cannot be written", needed="a disk that can")
        own(path, content)

    monkeypatch.setattr(verb, "write_file", denied)
    said = Said()
    found = verbs.export(run, ExportConfig(license="mit"), tmp_path / "out", said)
    assert found.record_file.exists()
    assert any("the run does not keep what was found of it" in line for line in said.lines)


def test_a_model_without_an_end_has_none_in_its_settings():
    settings = greedy_settings(tiny_model(), [])
    assert settings.eos_token_id is None
    assert greedy_settings(tiny_model(), [3]).eos_token_id == 3
    assert greedy_settings(tiny_model(), [3, 5]).eos_token_id == [3, 5]


def test_an_adapters_code_leaves_the_bases_own_settings_out(tmp_path, texts_file):
    """The base samples and penalises; what the card says to run writes what the run writes."""
    base = save_tiny(tmp_path / "base")
    own = GenerationConfig(do_sample=True, repetition_penalty=1.7, eos_token_id=0)
    own.save_pretrained(base)
    assert train(base, texts_file, tmp_path / "run", "train.lora.rank=2").exit_code == 0
    folder, _ = export(tmp_path / "run", tmp_path / "out", format="adapter")
    _, text = front(folder)
    code = text.partition("```python\n")[2].partition("```")[0]
    monkey = {"max_new_tokens=128": "max_new_tokens=12"}
    for old, new in monkey.items():
        code = code.replace(old, new)
    code = code.replace('from_pretrained(".")', f"from_pretrained({str(folder.path)!r})")
    code = code.replace('(base, ".")', f"(base, {str(folder.path)!r})")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "card", "exec"), {})
    [found] = verbs.generate(
        ["The old bridge"],
        GenerateConfig(model=ModelConfig(name=str(tmp_path / "run")), max_new_tokens=12),
    )
    assert found["continuation"] in said.getvalue()


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
