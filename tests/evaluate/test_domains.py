"""A study on the texts of two sources: what is written, and what `explain` says of the same."""

import pyarrow.parquet
import pytest

from hyperfitting.compare.checkpoints import open_checkpoints
from hyperfitting.compare.subject import Opened
from hyperfitting.config import CheckpointsConfig, DataConfig, OriginalConfig
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain.verb import write_explanation
from hyperfitting.progress import Progress
from hyperfitting.report.load import read_study
from hyperfitting.runs import StudyFolder
from hyperfitting.storage import read_json
from tests.comparing import EVALUATE, NO_SWAP
from tests.domains import CAPITALS, HERE, opened

CONFIG = EVALUATE.model_copy(update={"sampling_seeds": 1, "natural_tokens": 6})
EXPLAIN = NO_SWAP.model_copy(update={"strengths": (1.0,), "random_draws": 1})
TAPS = ("block_output", "post_final_norm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("domains")


@pytest.fixture(scope="module")
def study(folder, home_and_away, texts_file, capitals):
    """The run of one source, on its own texts and on the other's."""
    study = StudyFolder(folder / "study")
    write_both(study, home_and_away[:1], texts_file, capitals)
    return study


def write_both(study, runs, *sources):
    first, *others = opened(runs, *sources)
    evaluate(Opened((first, *others)), CONFIG, study.path)


def test_both_domains_are_measured_tested_and_kept(study, texts_file, capitals):
    domains = [str(texts_file), str(capitals)]
    written, measured = read_json(study.study_file), read_json(study.measurements_file)
    assert written["data"]["source"] == domains[0]
    assert [each["data"]["source"] for each in written["elsewhere"]] == domains[1:]
    table = pyarrow.parquet.read_table(study.per_context_file).to_pylist()
    for kind in (measured["rows"], measured["tests"], table):
        assert {row["domain"] for row in kind} == set(domains)
    greedy = {"human", "original", "late_stage_lora"}
    arms = {row["arm"] for row in measured["rows"] if row["domain"] == domains[1]}
    assert arms == greedy
    assert {r["arm"] for r in measured["rows"]} > greedy
    for row in measured["rows"]:
        held_out = {domains[0]: 5, domains[1]: 4}[row["domain"]]
        assert row["n"] + row["undefined"] == held_out, row

    away = {(e["arm"], e["mode"]): e["file"] for e in written["generations"] if "domain" in e}
    assert set(away) == {(arm, mode) for arm in greedy for mode in ("fixed_length", "natural")} - {
        ("human", "natural")
    }
    home = {e["file"] for e in written["generations"] if "domain" not in e}
    assert not home & set(away.values())
    for name in ("late_stage_lora", "human"):
        contexts = {text.context for text in study.read_generations(away[name, "fixed_length"])}
        assert all(set(context) <= set(CAPITALS) for context in contexts)


def test_the_report_keeps_domains_apart(study, texts_file, capitals):
    found = read_study(study)
    assert {row.domain for row in found.rows} == {str(texts_file)}
    assert {test.domain for test in found.tests} == {str(texts_file)}
    assert list(found.elsewhere) == [str(capitals)]
    assert {row.domain for row in found.on(str(capitals)).rows} == {str(capitals)}


def test_the_last_layer_has_the_dimensions_that_explain_finds(
    study, home_and_away, texts_file, capitals, folder
):
    rows = read_json(study.measurements_file)["rows"]
    for place, comparison in enumerate(opened(home_and_away[:1], texts_file, capitals)):
        explained = StudyFolder(folder / f"explained-{place}")
        write_explanation(explained, comparison, EXPLAIN, Progress())
        [arm] = read_json(explained.explain_file("geometry"))["arms"]
        for tap in TAPS:
            [layer] = [r for r in arm["layers"] if (r["layer"], r["space"]) == (3, tap)]
            expected = layer["delta_dim"]
            [row] = [
                r for r in rows
                if (r["metric"], r["domain"]) == (f"delta_dim_{tap}", comparison.domain)
            ]  # fmt: skip
            assert row["arm"] == "late_stage_lora"
            assert (row["mean"], row["low"], row["high"]) == tuple(expected.values())
            assert row["mean"] != 0


def test_a_checkpoint_beside_itself_has_no_new_dimensions(
    model_folder, texts_file, capitals, tmp_path
):
    cut = {"window_tokens": 32, "context_tokens": 8, "continuation_tokens": 8}
    here, there = (
        open_checkpoints(
            CheckpointsConfig(
                model=OriginalConfig(name=str(model_folder)), tuned=str(model_folder),
                data=DataConfig(source=str(source), **cut, **more),
            ),
            HERE,
            Progress(),
        )
        for source, more in ((texts_file, {}), (capitals, {"text_field": "story"}))
    )  # fmt: skip
    study = StudyFolder(tmp_path / "study")
    evaluate(Opened((here, there)), CONFIG, study.path)
    rows = [
        row
        for row in read_json(study.measurements_file)["rows"]
        if row["metric"].startswith("delta_dim")
    ]
    assert len(rows) == 2 * len(TAPS)
    assert {(row["mean"], row["low"], row["high"]) for row in rows} == {(0.0, 0.0, 0.0)}


def test_a_second_evaluation_of_both_writes_the_same_bytes(
    study, home_and_away, texts_file, capitals, folder
):
    again = StudyFolder(folder / "again")
    write_both(again, home_and_away[:1], texts_file, capitals)
    names = {p.relative_to(study.path) for p in study.path.rglob("*") if p.is_file()}
    assert names == {p.relative_to(again.path) for p in again.path.rglob("*") if p.is_file()}
    for name in names - {study.timings_file.relative_to(study.path)}:
        assert (study.path / name).read_bytes() == (again.path / name).read_bytes(), name
