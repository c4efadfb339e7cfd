"""What the terminal says after an evaluation and after an explanation."""

import json

import pytest

from hyperfitting.cli.show import explanation_summary, study_summary
from hyperfitting.config import ReportConfig
from hyperfitting.errors import InputError
from hyperfitting.report.load import read_study
from hyperfitting.report.verb import render_page
from tests.report.planted import plant


@pytest.fixture
def printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")

    def show(**arguments):
        folder = plant(tmp_path / "study", **arguments)
        study_summary(folder, read_study(folder), [("generate", 1.0), ("score", 2.0)])
        return folder, capsys.readouterr().out

    return show


def test_the_summary_is_short_and_has_greedy_arms_only(printed):
    folder, out = printed()
    table = out.split("n = 2")[0].split("\n\n")[0]
    rows = [line for line in table.splitlines() if line and line[0].isalpha()]
    assert 5 <= len(rows) <= 12
    assert "sampled" not in table
    assert "matched" not in table
    assert "0.700" in table
    assert ".690–.710" in table
    assert "3 s in all" in out
    assert str(folder.report_file) in out


def test_the_findings_follow_the_table(printed):
    _, out = printed()
    places = [
        out.index(words) for words in ("n = 2", "expansion survives", "1 of 1 blocks", "12 %.")
    ]
    assert places == sorted(places)


def test_without_controls_nothing_is_said_of_them(printed):
    _, out = printed(is_explained=False)
    assert "expansion" not in out


def test_several_seeds_are_one_column(printed):
    _, out = printed(seeds=(0, 1, 2))
    assert "0.710" in out.split("n = 2")[0]
    assert "0.720" not in out
    assert "hyperfitted (seed 0)" in out  # the texts and controls are of one training
    assert "seed 1" not in out


def test_control_characters_of_texts_do_not_reach_the_terminal(printed):
    _, out = printed(parameters={"name": "a\x1b[31mb"})
    assert "\x1b[31m" not in out
    assert "<script>" in out  # a terminal runs no markup


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("geometry", "terminal_expansion_in_words"), ("block_swap", "in_words"),
        ("static_bias", "in_words"),
    ],
)  # fmt: skip
def test_sentences_of_a_file_reach_neither_terminal_nor_page_as_they_are(
    tmp_path, capsys, name, field
):
    folder = plant(tmp_path / "study")
    content = json.loads(folder.explain_file(name).read_text())
    content["arms"][0][field] = "\x1b]0;title\x07 <b>bold</b>"
    folder.explain_file(name).write_text(json.dumps(content))
    explanation_summary(folder)
    study_summary(folder, read_study(folder), [])
    out = capsys.readouterr().out
    assert out.count("]0;title <b>bold</b>") == 2
    page = render_page(read_study(folder), {}, ReportConfig())
    assert "]0;title &lt;b&gt;bold&lt;/b&gt;" in page
    assert not {"\x1b", "\x07"} & {*out, *page}


def test_columns_that_do_not_fit_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    folder = plant(tmp_path / "study")
    study_summary(folder, read_study(folder), [])
    out = capsys.readouterr().out
    assert "and in the report: hyperfitted" in out
    assert "time" not in out


def test_an_explanation_names_every_model(tmp_path, capsys):
    folder = plant(tmp_path / "study", seeds=(0, 1))
    explanation_summary(folder)
    out = capsys.readouterr().out
    assert out.count("expansion survives") == 2
    assert "hyperfitted (seed 1)" in out
    assert str(folder.explain) in out.replace("\n", "")


def test_an_explanation_needs_no_evaluation(tmp_path, capsys):
    folder = plant(tmp_path / "study")
    folder.study_file.unlink()
    explanation_summary(folder)
    assert "12 %." in capsys.readouterr().out


def test_a_damaged_explanation_is_an_error(tmp_path):
    folder = plant(tmp_path / "study")
    folder.explain_file("geometry").write_text(json.dumps({"arms": []}))
    with pytest.raises(InputError, match="contexts_digest"):
        explanation_summary(folder)
