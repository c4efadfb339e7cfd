"""Several studies on one page: their own numbers, their own verdicts, links that lead to them."""

import re

import pytest
from typer.testing import CliRunner

from hyperfitting.cli.main import app
from hyperfitting.errors import InputError
from hyperfitting.report.load import read_study
from hyperfitting.report.together import beside, report_together
from tests.report.planted import plant


@pytest.fixture
def folders(tmp_path):
    one = plant(tmp_path / "grid" / "a", name="first")
    other = plant(tmp_path / "grid" / "b", name="second<b>", arm="late_stage_lora", seeds=(0, 1))
    one.report_file.parent.mkdir()
    one.report_file.write_text("a page")
    return [one.path, other.path]


def test_every_arm_of_every_study_has_its_own_numbers(folders):
    studies = [read_study_at(path) for path in folders]
    table = beside(studies)
    names = [(row[0].value, row[2].value, row[3].value) for row in table.rows]
    assert names == [
        ("first", "human", ""), ("first", "original", ""), ("first", "hyperfitted", "1"),
        ("second<b>", "human", ""), ("second<b>", "original", ""),
        ("second<b>", "late_stage_lora (2 seeds)", "2"),
    ]  # fmt: skip
    ttr = [row[4].value for row in table.rows]
    assert ttr == ["0.770", "0.120", "0.700", "0.770", "0.120", "0.710"]


def read_study_at(path):
    from hyperfitting.runs import StudyFolder

    return read_study(StudyFolder(path))


def test_the_page_links_to_what_is_there_and_escapes_names(folders, tmp_path):
    written = report_together(folders, None, tmp_path / "grid")
    page = written.report_file.read_text()
    assert re.findall(r'href="([^"]*)"', page) == ["../a/report/report.html"]
    assert (written.report_file.parent / "../a/report/report.html").resolve().exists()
    assert "second&lt;b&gt; on d" in page
    assert page.count("Decoded greedily") == 2
    assert "<script" not in page
    assert (written.tables / "together.csv").read_text().count("\n") == 7


def test_a_link_leads_to_a_folder_of_any_name(folders, tmp_path):
    odd = folders[0].rename(folders[0].with_name("run #1?"))
    written = report_together([odd], None, tmp_path / "all")
    [link] = re.findall(r'href="([^"]*)"', written.report_file.read_text())
    assert link == "../../grid/run%20%231%3F/report/report.html"


def test_the_command_writes_each_and_one_of_all(folders, tmp_path):
    out = tmp_path / "all"
    result = CliRunner().invoke(app, ["report", *map(str, folders), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert (out / "report" / "report.html").exists()


def test_a_folder_that_was_not_evaluated_is_refused_and_nothing_is_written(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no evaluated run or study"):
        report_together([*folders, tmp_path / "empty"], None, tmp_path / "out")
    with pytest.raises(InputError, match="no study is given"):
        report_together([], None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
