"""Cells, labels and formats."""

from dataclasses import replace

import numpy as np
import pytest

from hyperfitting.records import Arm
from hyperfitting.records.arms import label
from hyperfitting.records.estimates import Estimate, undefined
from hyperfitting.report import tables
from hyperfitting.report.formats import to_csv, to_latex, to_markdown
from tests.report.planted import REFERENCES, arm_rows, measurement


def test_cells():
    assert tables.cell(None).value == "–"
    assert tables.cell(None).reason == "not measured"
    perplexity = next(r for r in arm_rows("hyperfitted", 0, 0.7) if r.metric == "val_ppl")
    assert tables.cell(perplexity).text == "1,234 [1,234, 1,235]"
    assert tables.cell(REFERENCES[0]).short_interval == ".760–.780"
    below = measurement("human", "coherence_original_nats", -4.23)
    assert tables.cell(below).short_interval == "-4.24…-4.22"  # no dash before a sign
    assert tables.cell(REFERENCES[0]).line == "0.770 [0.760, 0.780] (n=2)"
    one = measurement("human", "ttr", 0.5, low=None, high=None, n=1, reason="one context")
    assert tables.cell(one) == tables.Cell("0.500", n=1, reason="one context")


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [
        (None, "–", "–"),
        (0.0, "0.00", "0.00"),
        (-0.0, "0.00", "0.00"),
        (-6.8e-19, "0.00", "0.00"),
        (0.004, "0.00", "0.00"),
        (0.006, "0.01", "+0.01"),
        (-0.006, "-0.01", "-0.01"),
        (1234.5678, "1,234.57", "+1,234.57"),
        (1e9, "1.00e+09", "+1.00e+09"),
    ],
)
def test_numbers(value, plain, signed):
    assert tables.number(value, 2) == plain
    assert tables.number(value, 2, signed=True) == signed


@pytest.mark.parametrize("seed", range(5))
def test_a_number_reads_back_to_half_a_unit_of_its_last_digit(seed):
    for value in np.random.default_rng(seed).normal(scale=100, size=50):
        for signed in (False, True):
            text = tables.number(float(value), 3, signed=signed)
            assert abs(float(text.replace(",", "")) - value) <= 0.0005 + 1e-12


def test_p_values():
    written = {0.0001: "< .001", 0.0213: ".021", 0.9995: "> .999", 1.0: "1", None: "–"}
    assert {p: tables.p_text(p) for p in written} == written
    assert tables.p_phrase(0.0001) == "p < .001"
    assert tables.p_phrase(0.0213) == "p = .021"


def test_an_undefined_estimate_says_why():
    found = tables.estimate(undefined("undefined for every context"))
    assert (found.value, found.interval, found.reason) == ("–", "", "undefined for every context")
    assert tables.estimate(Estimate(value=None, low=None, high=None)).reason == "undefined"


def test_a_table_names_a_common_n_only_where_there_is_one():
    def table(*counts):
        cells = [tables.estimate(Estimate(value=0.5, low=0.4, high=0.6, n=n)) for n in counts]
        return tables.Table("t", [("a", "")] * 3, [[tables.Cell("arm"), *cells]])

    assert table(60, 60).common_n == 60
    assert table(60, 59).common_n == 0
    assert table(60, 60, 59).common_n == 60  # and the third says its own


def test_the_papers_values_get_columns_of_their_own():
    rows = [
        [tables.Cell("a"), tables.Cell("1", paper="2 ± 3")],
        [tables.Cell("b"), tables.Cell("4")],
    ]
    table = tables.Table("t", [("arm", ""), ("x", "nats")], rows)
    assert table.lines() == [
        ["arm", "x (nats)", "x, paper"], ["a", "1", "2 ± 3"], ["b", "4", "–"],
    ]  # fmt: skip


def test_a_column_says_what_computes_it():
    said = tables.origin("ttr")
    assert "hyperfitting.measure.text.type_token_ratio" in said
    assert "section 2.1 of docs/definitions.md" in said


def test_formats_escape_their_own_signs():
    rows = [["a_b", "c|d"], ["50 %\nx", "± <"]]
    assert to_markdown(rows).splitlines() == [
        "| a_b | c\\|d |", "|---|---|", "| 50 % x | ± < |",
    ]  # fmt: skip
    assert "a\\_b & c|d" in to_latex(rows)
    assert "50 \\%\nx & $\\pm$ $<$" in to_latex(rows)
    assert to_csv([["a,b", 'c"d']]) == '"a,b","c""d"\n'


def test_labels_name_what_sets_an_arm_apart():
    late = [Arm.named("late_stage_lora", 0, {"late.last_blocks": k}) for k in (2, 5)]
    assert label(late[0], late) == "late_stage_lora (last_blocks=2)"
    seeds = [late[0], replace(late[0], seed=1), late[1]]
    assert label(seeds[0], seeds) == "late_stage_lora (last_blocks=2, seed 0)"
    assert label(seeds[2], seeds) == "late_stage_lora (last_blocks=5)"
    assert label(Arm("hyperfitted"), [], 5) == "hyperfitted (5 seeds)"
    assert label(Arm("hyperfitted", 3), [Arm("hyperfitted", 3)]) == "hyperfitted"
    rates = Arm.named("full_lora", 0, {"lora.rate": 1e-4, "head.rate": 0.5})
    assert label(rates, []) == "full_lora (lora.rate=0.0001, head.rate=0.5)"
    assert label(Arm.named("x", 0, {"a": "\u202eb\x1b[31m"}), []) == "x (a=b[31m)"


def test_lists_in_parameters_make_an_arm_that_can_be_a_key():
    assert {Arm.named("a", 0, {"targets": ["q", "v"]}): 1}[Arm("a", 0, (("targets", ("q", "v")),))]


def test_kinds_of_arms():
    controls = ("original_sampled", "hyperfitted_sampled", "original_entropy_matched")
    found = [Arm.named(name, None, {"matched_to": "tuned"}) for name in controls]
    assert all(arm.is_control and not arm.is_tuned for arm in found)
    assert not any(Arm(name).is_control or Arm(name).is_tuned for name in ("human", "original"))
    assert all(Arm(name).is_tuned for name in ("best_val_checkpoint", "tuned"))
