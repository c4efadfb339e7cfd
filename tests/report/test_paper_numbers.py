"""The paper's numbers without a table, and loss curves side by side: each cell by hand."""

from dataclasses import replace

import pytest

from hyperfitting.records import Arm
from hyperfitting.records.controls.static_bias import StaticBias
from hyperfitting.report.explanation import Explained
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import paper
from hyperfitting.report.sections.paper_numbers import (
    curves_table,
    numbers_table,
    relative_ttr,
    saved_parameters,
)
from tests.report.planted import measurement, plant
from tests.report.test_paper import TINYLLAMA, printed
from tests.report.test_paper_more import named


@pytest.fixture
def study(folder):
    return read_study(folder)


def trained(study, *runs):
    entries = [study.info.runs[0].model_copy(update=run) for run in runs]
    return replace(study, info=study.info.model_copy(update={"runs": entries}))


LATE = {"arm": Arm("late_stage_lora", 0), "method": "late_stage_lora"}
FULL = {"arm": Arm("full_lora", 0), "method": "full_lora"}


def by_name(table):
    return {row[1].value: row[2] for row in table.rows}


def test_every_number_of_the_text_is_beside_the_papers_for_its_model(study):
    table = numbers_table(named(study, TINYLLAMA))
    found = by_name(table)
    # Planted: TTR .70 against .12, the paired difference .58 with [.48, .68].
    gain = found["TTR above the original's, %"]
    assert (gain.value, gain.interval, gain.paper) == ("+483", "[+400, +567]", "71")
    own = found["Rank 1 of written tokens, %"]
    assert (own.value, own.interval, own.paper) == ("61.0", "[60.0, 62.0]", "60.9")
    forced = found["Rank 1 of choices on human text, %"]
    assert (forced.value, forced.paper) == ("52.0", "43 to 61")
    assert found["L2 distance at layer 0"].value == "1.0"
    last = found["L2 distance at layer 1"]
    assert (last.value, last.interval, last.paper) == ("21.0", "[21.0, 21.0]", "81.6")
    change = found["Change in dimensions at the last layer"]
    assert (change.value, change.interval, change.paper) == ("+2.0", "[+1.0, +3.0]", "80.8")
    assert found["Parameters that Late-Stage LoRA saves, % of full LoRA's"].reason
    assert printed(numbers_table(study)) == {}


def test_the_papers_news_values_stand_beside_news_only(study):
    data = study.info.data.model_copy(update={"source": "ag_news"})
    of_news = replace(study, info=study.info.model_copy(update={"data": data}))
    found = by_name(numbers_table(named(of_news, "google/gemma-2-2b")))
    assert found["Change in dimensions at the last layer"].paper == "21.0"


def test_the_correlation_of_strengths_is_the_files(study):
    static = study.explained.of(StaticBias)[0]
    key = "Rank correlation of strength and TTR"
    assert by_name(numbers_table(study))[key].value == "–"
    static = static.model_copy(update={"strength_ttr_spearman": -0.94})
    with_it = replace(study, explained=replace_static(study.explained, static))
    assert by_name(numbers_table(with_it))[key].value == "-0.94"


def replace_static(explained, static):
    return Explained({**explained.by_control, "static_bias": [static]})


def test_saved_parameters_are_of_the_same_kind(study):
    several = trained(
        study,
        {"trainable_params": 1_000},
        {"trainable_params": 217, **LATE},
        {"trainable_params": 1_000, **FULL},
        {"trainable_params": 400, "arm": Arm("late_half", 0), "method": "late_half_sft"},
    )
    sft, late, full, half = several.runs
    assert saved_parameters(several, sft) is None
    assert saved_parameters(several, full) is None
    assert saved_parameters(several, late).value == "78.3"
    assert saved_parameters(several, half).value == "60.0"
    alone = trained(study, {"trainable_params": 217, **LATE})
    assert "full_lora" in saved_parameters(alone, alone.runs[0]).reason
    foreign = trained(study, {"method": None})
    everything = trained(study, {"blocks_0_based": None, "trainable_params": 7})
    assert paper.method_table(everything).rows[1][1].value == "everything"
    assert "not known" in saved_parameters(foreign, foreign.runs[0]).reason


def test_saved_parameters_of_a_pair_are_those_of_the_table(study):
    """One training each: its arms have a seed, and there is no mean over several."""
    runs = ({"trainable_params": 217, **LATE}, {"trainable_params": 1_000, **FULL})
    rows = [measurement(each["arm"].name, "ttr", 0.6, 0) for each in (LATE, FULL)]
    pair = replace(trained(study, *runs), rows=[*study.rows, *rows])
    found = by_name(numbers_table(pair))
    assert found["Parameters that Late-Stage LoRA saves, % of full LoRA's"].value == "78.3"
    assert found["TTR of Late-Stage LoRA, % of full LoRA's"].value == "100.0"


def test_what_controls_found_of_one_training_says_of_which(tmp_path):
    several = read_study(plant(tmp_path / "s", seeds=(0, 1)))
    assert several.first.seed is None
    names = by_name(numbers_table(several))
    assert "L2 distance at layer 1 (of seed 0)" in names
    assert "Change in dimensions at the last layer (of seed 0)" in names
    assert "Rank correlation of strength and TTR (of seed 0)" in names
    assert "Rank 1 of written tokens, %" in names


def test_methods_say_which_blocks_they_tune_and_how_many_parameters(study):
    blocks = {"blocks_0_based": [23, 24, 25, 26, 27], "trainable_params": 53_000_000}
    table = paper.method_table(named(trained(study, blocks), "Qwen/Qwen2.5-1.5B"))
    original, tuned = table.rows
    assert [each.value for each in original[1:4]] == ["–"] * 3
    assert [each.value for each in tuned[1:4]] == ["24 to 28", "53,000,000", "–"]
    assert tuned[1].paper == "All"
    assert tuned[3].reason == "these are all"
    assert tuned[-2].text == "+483 [+400, +567]"


def test_ttr_of_an_original_without_variety_has_no_relative_change(study):
    rows = [measurement("original", "ttr", 0.0), measurement("hyperfitted", "ttr", 0.7, 0)]
    found = relative_ttr(replace(study, rows=rows), Arm("hyperfitted", 0))
    assert found.value == "–"
    assert "0" in found.reason


def test_curves_stand_beside_full_loras_of_the_same_seed(study):
    steep, flat = [4.0, 2.0, 1.0, 0.9, 0.1], [4.0, 2.2, 1.0, 0.8, 0.2]
    several = trained(
        study,
        {"train_loss": steep, **LATE},
        {"train_loss": flat, **FULL},
        {"train_loss": flat, **FULL, "arm": Arm("full_lora", 1)},
        {"train_loss": steep, **LATE, "arm": Arm("late_stage_lora", 2)},
    )
    table = curves_table(several)
    assert len(table.rows) == 1
    assert [each.value for each in table.rows[0]][3:] == ["0.69", "5", "5"]
    assert table.rows[0][2].value == "+0.97"  # by scipy
    assert not curves_table(trained(study, {"train_loss": steep, **LATE}))
