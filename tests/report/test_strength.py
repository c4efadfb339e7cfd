"""The strength that is suggested: the weakest that does as well, by the measured figures."""

from dataclasses import replace

import pytest

from hyperfitting.records import Arm
from hyperfitting.report.load import read_study
from hyperfitting.report.sections.strength import content, suggested
from tests.report.planted import arm_rows, measurement, plant

TUNED = Arm("hyperfitted", 0)
WHOLE = {"ttr": 0.6, "looped_rate": 0.0, "val_ppl": 900.0}


@pytest.fixture
def study(tmp_path):
    return read_study(plant(tmp_path / "study"))


def measured(study, **strengths):
    """The study with the tuned arm at strengths, each with TTR, loops and perplexity."""
    rows = [row for row in study.rows if not (row.key == TUNED and row.metric in WHOLE)]
    rows += [measurement("hyperfitted", name, value, 0) for name, value in WHOLE.items()]
    for strength, (ttr, looped, perplexity) in strengths.items():
        own = {"parameters": {"strength": float(strength.removeprefix("s"))}}
        values = {"ttr": ttr, "looped_rate": looped, "val_ppl": perplexity}
        rows += [measurement("hyperfitted", k, v, 0, **own) for k, v in values.items()]
    return replace(study, rows=rows)


def strength_of(study):
    found = suggested(study, TUNED)
    return found and found.arm.full_strength


def test_nothing_is_suggested_where_nothing_was_measured(study):
    assert suggested(study, TUNED) is None
    assert suggested(measured(study, **{"s1.5": (0.7, 0.0, 2000.0)}), TUNED) is None
    assert content(study, {}, None) is None


def test_the_weakest_that_does_as_well_is_suggested_with_its_figures(study):
    found = measured(
        study,
        **{"s0.25": (0.3, 0.5, 100.0), "s0.5": (0.58, 0.05, 300.0), "s0.75": (0.6, 0.0, 600.0)},
    )
    assert strength_of(found) == 0.5
    words = suggested(found, TUNED).in_words(found)
    assert (
        "strength 0.5 has at most 0.03 of TTR less and at most 5 texts of a hundred more" in words
    )
    assert "TTR 0.580 (0.600 of the whole)" in words
    assert "validation perplexity 300 (900 of the whole)" in words
    assert words in content(found, {}, None)["suggested"]


def test_nothing_is_suggested_where_loops_were_not_measured(study):
    found = measured(study, **{"s0.5": (0.6, 0.0, 300.0)})
    found = replace(found, rows=[row for row in found.rows if row.metric != "looped_rate"])
    assert suggested(found, TUNED) is None


@pytest.mark.parametrize("weaker", [(0.56, 0.0, 300.0), (0.6, 0.06, 300.0)])
def test_less_variety_or_more_loops_are_no_bargain(study, weaker):
    found = measured(study, **{"s0.5": weaker})
    assert strength_of(found) == 1
    assert "take the whole" in suggested(found, TUNED).in_words(found)


def test_rows_of_arms_are_those_of_the_files():
    assert arm_rows("hyperfitted", 0, 0.6, parameters={"strength": 0.5})[0].key == (
        TUNED.at_strength(0.5)
    )
