"""Tables, figures and the page from a made-up study; model text stays text."""

import csv
import io
import json
from dataclasses import asdict, replace

import pytest

from hyperfitting.config import ReportConfig
from hyperfitting.errors import InputError
from hyperfitting.records import Generation, Measurement, MonitorRow, PairedTest
from hyperfitting.report import tables
from hyperfitting.report.build import write_report
from hyperfitting.report.load import read_study
from hyperfitting.runs import RunFolder, StudyFolder

ATTACK = '<script>alert(1)</script>\x1b[31m & "quotes" {{ 7 * 7 }}'


def measurement(arm, metric, mean, seed=None, **changes):
    plain = {"low": mean and mean - 0.01, "high": mean and mean + 0.01, "n": 2, "undefined": 0}
    plain |= {"model": "m<b>", "domain": "d", "mode": "fixed_length", "length": 4}
    return Measurement(arm=arm, seed=seed, metric=metric, mean=mean, **{**plain, **changes})


ROWS = [
    measurement("human", "ttr", 0.77),
    measurement("human", "bigram_repetition", 0.04),
    measurement("human", "val_ppl", None, reason="human text is not the output of a model", n=0),
    measurement("original", "ttr", 0.12),
    measurement("original", "bigram_repetition", 0.86),
    measurement("original", "val_ppl", 60.0),
    measurement("original", "looped_rate", 0.9),
    measurement("hyperfitted", "ttr", 0.7, seed=0),
    measurement("hyperfitted", "bigram_repetition", 0.05, seed=0),
    measurement("hyperfitted", "val_ppl", 1234.5, seed=0),
    measurement("hyperfitted", "looped_rate", 0.0, seed=0),
]
TESTS = [
    PairedTest(
        a="hyperfitted", b="original", metric="ttr", difference=0.58, low=0.5, high=0.6,
        p=0.0001, p_holm=0.0002, n=2,
    ),
    PairedTest(
        a="hyperfitted", b="human", metric="ttr", difference=None, low=None, high=None,
        p=None, p_holm=None, n=1, reason="fewer than two contexts with both values",
    ),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    study = StudyFolder(tmp_path / "study")
    run = RunFolder(study.run_path("hyperfitted", 0))
    run.path.mkdir(parents=True)
    for epoch in range(3):
        run.append_metrics(
            MonitorRow(
                epoch=epoch, step=epoch, train_loss=None if epoch == 0 else 1 / epoch,
                val_loss=2.0, val_ppl=7.4, ttr=0.1 + epoch / 5, bigram_repetition=0.1,
                rank_1=0.6, rank_2_10=0.3, rank_gt_10=0.1, rank_prefix="OP",
                num_contexts=2, num_windows=2, seconds=0.1,
            )
        )  # fmt: skip
    generations = []
    for arm, seed in (("human", None), ("original", None), ("hyperfitted", 0)):
        texts = [
            Generation(
                arm=arm, seed=seed, context_index=i, mode="fixed_length", context_ids=[1],
                continuation_ids=[1, 2, 3, 1], context=f"context {i}",
                continuation=ATTACK if arm == "hyperfitted" else "plain", ending="looped",
            )
            for i in range(2)
        ]  # fmt: skip
        path = study.write_generations("key", texts)
        generations.append(
            {
                "arm": arm, "seed": seed, "mode": "fixed_length", "length": 4, "parameters": {},
                "file": str(path.relative_to(study.path)), "ties": 0,
                "cached_equals_uncached": None if arm == "human" else 1.0,
            }
        )  # fmt: skip
    account = {
        "nothing_to_train_on": 0,
        "read": 5,
        "empty": 0,
        "duplicate": 1,
        "too_short": 0,
        "held_out": 2,
    }
    account |= {"training_windows": 2, "training_windows_available": 2}
    info = {
        "version": 1,
        "definitions_version": 1,
        "model": {"name": "m<b>", "digest": "0" * 64},
        "data": {
            "source": "d", "windows": "fixed", "context_tokens": 1, "continuation_tokens": 4,
            "account": account, "contexts_digest": "1" * 64,
        },
        "num_contexts": 2,
        "evaluate": {"resamples": 500, "natural_tokens": 8, "confidence": 0.9},
        "runs": [
            {
                "arm": "hyperfitted", "seed": 0, "path": "runs/hyperfitted-seed-0",
                "final_loss": 0.03, "epochs": 2, "trainable_params": 1000, "num_train": 2,
                "train_seconds": 1.5, "method": "full_sft", "stopped_by": "ttr_plateau",
            }
        ],
        "generations": generations,
        "environment": {"packages": {"torch": "2"}, "python": "3.11", "threads": 2},
    }  # fmt: skip
    study.study_file.write_text(json.dumps(info))
    study.measurements_file.write_text(
        json.dumps({"rows": [asdict(r) for r in ROWS], "tests": [asdict(t) for t in TESTS]})
    )
    return study


@pytest.fixture
def page(folder):
    write_report(folder, ReportConfig())
    return folder.report_file.read_text()


def test_model_text_is_escaped_and_control_characters_are_gone(page):
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert "49 " not in page.split("Side by side")[1].split("<dl>")[0]
    assert "\x1b" not in page
    assert "m<b>" not in page


def test_the_page_needs_nothing_from_elsewhere(page):
    for marker in ("<link", "src=", "url(http", "@import", "<script"):
        assert marker not in page
    assert page.count("<svg") == 2


def test_every_number_has_its_interval_and_n(page):
    assert "0.700<small>[0.690, 0.710]</small><small>n = 2</small>" in page
    assert 'title="human text is not the output of a model">–' in page


def test_the_level_and_the_stop_are_those_of_the_study(page):
    assert "90% bootstrap interval" in page
    assert "95" not in page.split("Results")[1].split("</svg>")[1].split("While")[0]
    assert "chosen on them" in page


def test_line_separators_in_a_text_do_not_cut_the_file(folder):
    texts = folder.read_generations("generations/original--key.jsonl")
    odd = [replace(text, continuation="a\u2028b\x85c\u2029") for text in texts]
    folder.write_generations("key", odd)
    assert folder.read_generations("generations/original--key.jsonl") == odd


def test_tables_and_figures_are_written_as_files(folder, page):
    assert {p.name for p in folder.tables.iterdir()} == {
        f"{name}.{ending}" for name in ("arms", "tests") for ending in ("md", "csv", "tex")
    }
    assert {p.name for p in folder.figures.iterdir()} == {
        f"{name}.{ending}" for name in ("training_curves", "diversity") for ending in ("png", "pdf")
    }
    rows = list(csv.reader(io.StringIO((folder.tables / "arms.csv").read_text())))
    assert rows[0][:2] == ["arm", "TTR (distinct tokens / tokens)"]
    assert rows[3][0] == "hyperfitted"
    assert rows[3][1] == "0.700 [0.690, 0.710] (n=2)"
    assert rows[1][4] == "–"


def test_a_second_report_is_equal(folder, page):
    write_report(folder, ReportConfig())
    assert folder.report_file.read_text() == page


def test_cells():
    assert tables.cell(None).mean == "–"
    assert tables.cell(ROWS[9]).text == "1,234 [1,234, 1,235]"
    assert tables.cell(ROWS[0]).short_interval == ".760–.780"
    assert tables.p_text(0.0001) == "< .001"
    assert tables.p_text(0.0213) == ".021"
    assert tables.p_text(1.0) == "1"
    assert tables.p_text(None) == "–"


def test_markdown_and_latex_escape_their_own_signs():
    rows = [["a_b", "c|d"], ["50 %", "<"]]
    assert tables.to_markdown(rows).splitlines()[0] == "| a_b | c\\|d |"
    assert "a\\_b & c|d" in tables.to_latex(rows)
    assert "50 \\% & $<$" in tables.to_latex(rows)


def test_a_folder_that_was_not_evaluated_says_what_to_run(tmp_path):
    with pytest.raises(InputError, match="no study.json"):
        read_study(StudyFolder(tmp_path))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="hint: run `hyperfit evaluate"):
        read_study(StudyFolder(tmp_path))


def test_damaged_files_are_named(folder):
    folder.measurements_file.write_text("{")
    with pytest.raises(InputError, match=r"measurements\.json cannot be read"):
        read_study(folder)
