"""Tables as files hold what foreign names say, and no reader of them runs it."""

import csv
import io

import pytest

from hyperfitting.report.formats import to_csv, to_markdown

FORMULAS = [
    "=cmd|' /C calc'!A0", "+1+cmd|' /C calc'!A0", "-1+cmd|'/C calc'!A0", "@SUM(1)", "\t=1",
    "-1 +cmd|' /C calc'!A0", '-0.3 HYPERLINK("http://x")', "  =1+1", "-cmd", "-2!A0", "+A1",
]  # fmt: skip
NUMBERS = [
    "-0.3", "+0.13", "-0.311 [-0.400, -0.222] (n=60)", "+0.13 [+0.01, +0.20]", "-1,234.5", "-1e-05",
    "+1.00e+09", "-0.3 3 runs, 0.1 to 0.5", "0.5", "–", "< .001", "± 0.05", "late_stage_lora", "",
]  # fmt: skip


def cells(rows):
    return list(csv.reader(io.StringIO(to_csv(rows))))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text_to_a_spreadsheet(text):
    assert cells([["arm", text]]) == [["arm", f"'{text}"]]


def test_a_line_break_in_front_of_a_formula_does_not_hide_it():
    assert cells([["\r=1", "\n=1"]]) == [["' =1", "'\n=1"]]


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_and_plain_texts_stay(text):
    assert cells([["arm", text]]) == [["arm", text]]


def test_markdown_holds_no_markup():
    attack = (
        "<script>alert(1)</script> <img src=x onerror=y> </td><!-- <?php ![a](http://x) a|b \\|"
    )
    line = to_markdown([["arm", "value"], [attack, "< .001"]]).splitlines()[2]
    assert "<s" not in line
    assert "<i" not in line
    assert "</" not in line
    assert "<!" not in line
    assert "](" not in line
    assert line.endswith(r"a\|b \\\| | < .001 |")
    assert "&lt;script>alert(1)" in line
