"""The paper's values stand beside ours where model and table are the same, and nowhere else."""

import json
from pathlib import Path

import pytest

from hyperfitting.report import paper_values
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import paper
from tests.report.planted import plant
from tests.report.test_report import section

TINYLLAMA = "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T"
TABLES = json.loads((Path(paper_values.__file__).parent / "paper_tables.json").read_text())[
    "tables"
]


@pytest.fixture
def study_of(tmp_path):
    return lambda **arguments: read_study(plant(tmp_path / "study", **arguments))


def printed(table):
    """The paper's values of a table, by row name and column."""
    header = [name for name, _ in table.header]
    return {
        (row[0].value, name): cell.paper
        for row in table.rows
        for name, cell in zip(header, row, strict=True)
        if cell.paper
    }


def test_the_mapping_names_models_of_the_papers_tables():
    printed_models = {table["model"] for table in TABLES}
    assert set(paper_values.MODELS.values()) <= printed_models
    by_number = {table["table"]: table["model"] for table in TABLES}
    for numbers in (
        paper_values.ENTROPY_TABLES,
        paper_values.STATIC_TABLES,
        paper_values.METHOD_TABLES,
    ):
        assert all(by_number[number] == model for model, number in numbers.items())


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (TINYLLAMA, "TinyLlama-1.1B"),
        ("/models/tinyllama-1.1b-intermediate-step-1431k-3t/", "TinyLlama-1.1B"),
        ("Qwen/Qwen2.5-1.5B", "Qwen2.5-1.5B"),
        ("google/gemma-2-2b", "Gemma-2-2B"),
        ("builtin", None),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", None),
        ("Qwen/Qwen2.5-1.5B-Instruct", None),
        ("google/gemma-2-2b/other", None),
    ],
)
def test_a_model_is_known_by_hub_id_or_folder(name, model):
    assert paper_values.model_in_paper(name) == model


def test_values_of_tinyllama_stand_beside_ours(study_of):
    study = study_of(name=TINYLLAMA)
    found = printed(paper.entropy_table(study))
    theirs = next(table for table in TABLES if table["table"] == 1)["rows"]
    assert found["TTR", "Hyperfitted (Full SFT)"] == "0.684 ± 0.017"
    assert found["Spearman, all tokens (TF)", "Original (T = 1)"] == "1.000"
    assert found["Top-1 agreement (TF)", "Original (T = T*, entropy-matched)"] == "0.997 ± 0.001"
    assert found["Temperature", "Original (T = T*, entropy-matched)"] == "about 0.59"
    assert found["TTR", "p (Holm)"] == "< .001"
    assert found["Prediction entropy (TF)", "p (Holm)"] == ".73"
    assert len(found) == 6 * len(theirs) + 6 + 1


def test_our_values_are_those_of_the_study(study_of):
    table = paper.entropy_table(study_of(name=TINYLLAMA))
    rows = {row[0].value: row[1:] for row in table.rows}
    assert [cell.value for cell in rows["TTR"]] == ["0.120", "0.120", "0.700", "< .001"]
    assert rows["Spearman, all tokens (TF)"][2].value == "0.430"  # on human text, not on its own
    assert rows["Prediction entropy (TF)"][3].reason == (
        "matched to the tuned arm within 9.0e-05 nats"
    )
    assert rows["Spearman, all tokens (TF)"][3].reason == "the original's is 1 by definition"


def test_static_injection_matches_known_strengths_only(study_of):
    found = printed(paper.static_table(study_of(name=TINYLLAMA)))
    assert found == {
        ("original", "TTR"): "0.449 ± 0.018",
        ("original", "Bigram repetition"): "0.588 ± 0.022",
        ("injected, strength 0.01", "TTR"): "0.409 ± 0.017",
        ("injected, strength 0.01", "Bigram repetition"): "0.609 ± 0.022",
        ("hyperfitted", "TTR"): "0.679 ± 0.020",
        ("hyperfitted", "Bigram repetition"): "0.136 ± 0.016",
    }


def test_methods_take_the_table_of_the_model(study_of):
    found = printed(paper.method_table(study_of(name="Qwen/Qwen2.5-1.5B", arm="late_stage_lora")))
    assert found["late_stage_lora", "TTR"] == "0.591 ± 0.019"
    assert found["late_stage_lora", "Final loss"] == "0.043"
    assert ("original", "Final loss") not in found
    assert found["original", "Prediction entropy (TF)"] == "2.483 ± 0.065"


def test_another_arm_or_parameter_has_no_value_of_the_paper(study_of):
    study = study_of(name=TINYLLAMA, arm="late_stage_lora", parameters={"late.last_blocks": 2})
    tables = [paper.entropy_table(study), paper.static_table(study), paper.method_table(study)]
    rows = {row for table in tables for row, _ in printed(table)}
    assert not any("late_stage" in row or "injected" in row for row in rows)
    assert {name for _, name in printed(tables[0])} == {"Original (T = 1)"}


def test_any_other_model_stands_alone(page_of):
    page = section(page_of(name="builtin"), "paper")
    assert "The paper has no table for builtin: our values stand alone." in page
    assert 'class="paper"' not in page
    assert "<h3>Equal entropy" in page


def test_the_page_of_a_model_of_the_paper(page_of):
    page = section(page_of(name=TINYLLAMA), "paper")
    assert "values of its Tables 1, 2, 3 stand below ours" in page
    assert '<small class="paper">paper 0.684 ± 0.017</small>' in page
    assert page.split("<ol")[1].count("<li>") == len(paper.FOOTNOTES)


def test_footnotes_quote_the_papers_own_numbers():
    """Each number in a footnote is in the table that the footnote names."""
    rows = {table["table"]: table["rows"] for table in TABLES}

    def of(table, arm, metric, key="mean"):
        found = next(row for row in rows[table] if row["arm"] == arm)
        return f"{found['metrics'][metric][key]:.3f}".removeprefix("0")

    text = " ".join(paper.FOOTNOTES)
    for number in (
        of(1, "hyperfitted", "top1_agreement"), of(1, "hyperfitted", "top1_agreement", "pm"),
        of(3, "hyperfitted", "top1_agreement", "pm"), of(1, "original", "ttr"),
        of(2, "original", "ttr"), of(1, "hyperfitted", "ttr"), of(2, "hyperfitted", "ttr"),
    ):  # fmt: skip
        assert number in text
    column = [r["metrics"]["ttr"]["mean"] for r in rows[2] if r["arm"] == "static_injection"]
    assert ", ".join(f"{ttr:.3f}".removeprefix("0") for ttr in column) in text
    gemma = next(t for t in TABLES if t["table"] == paper_values.ENTROPY_TABLES["Gemma-2-2B"])[
        "rows"
    ]
    assert gemma[1]["metrics"]["top1_agreement"]["mean"] == 1.0
    assert gemma[0]["metrics"]["ttr"] != gemma[1]["metrics"]["ttr"]
