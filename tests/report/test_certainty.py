"""What the page and the terminal say of families, trainings and losses."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hyperfitting.cli.show import study_summary
from hyperfitting.records import Arm
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import certainty
from hyperfitting.report.sections import nulls as nulls_section
from hyperfitting.report.tables import test_table as table_of_tests
from tests.report.planted import arm_rows, paired, plant
from tests.report.test_report import section


@pytest.fixture
def study(tmp_path):
    return read_study(plant(tmp_path / "study"))


def with_second_method(study, loss, seeds=(0,), arm="full_lora"):
    """The same study with another method beside the first."""
    rows = [*study.rows, *(row for seed in seeds for row in arm_rows(arm, seed, 0.66))]
    more = {"final_loss": loss}
    runs = [study.runs[0].model_copy(update={"arm": Arm(arm, s), **more}) for s in seeds]
    info = study.info.model_copy(update={"runs": [*study.runs, *runs]})
    return replace(study, rows=rows, info=info)


def test_final_losses_that_differ_by_more_than_a_factor_of_2_are_named(study):
    assert certainty.losses_in_words(study) == "", "one method"
    assert certainty.losses_in_words(with_second_method(study, 0.06)) == ""
    words = certainty.losses_in_words(with_second_method(study, 0.061))
    assert "hyperfitted 0.030, full_lora 0.061 nats per token" in words
    assert "the loss reached, the depth, or the number of trained" in words


def test_a_loss_is_the_mean_over_trainings_and_unknown_ones_are_left_out(tmp_path, study):
    several = read_study(plant(tmp_path / "seeds", seeds=(0, 1, 2)))
    words = certainty.losses_in_words(with_second_method(several, 0.5))
    assert "hyperfitted (3 seeds) 0.040, full_lora 0.500" in words
    assert certainty.losses_in_words(with_second_method(study, None)) == ""


def test_losses_stand_in_the_terminal_and_methods_trained_once_too(
    tmp_path, capsys, monkeypatch, study
):
    monkeypatch.setenv("COLUMNS", "110")
    folder = plant(tmp_path / "again")
    study_summary(folder, with_second_method(study, 0.5), [])
    out = " ".join(capsys.readouterr().out.split())
    assert "hyperfitted 0.030, full_lora 0.500" in out
    assert certainty.METHODS_ONCE in out
    study_summary(folder, study, [])
    out = capsys.readouterr().out
    assert "different training losses" not in out
    assert "cannot be compared" not in out, "there is one method"


def test_families_are_counted(study):
    tests = study.tests
    tested = [t for t in tests if t.p is not None]
    words = certainty.families_in_words(study)
    assert words == (
        f"p (Holm) is adjusted over the {len(tested)} tests of models on these texts; tests of "
        "equivalence are in no family."
    )
    decoded = [replace(tested[0], b="original+min_p")] * 2
    words = certainty.families_in_words(replace(study, tests=[*tests, *decoded]))
    assert f"over the {len(tested)} tests of models" in words
    assert "the 2 against the original with --decoders are a family of their own" in words


def test_one_training_is_about_this_model(page_of):
    page = page_of()
    text = " ".join(section(page, "tests").split())
    assert "hyperfitted: one training each. The tests are about these trained models" in text
    assert "contexts only</td>" in text
    assert "all tests of the study" not in page


def test_two_methods_trained_once_cannot_be_compared(study):
    reason = "one training each: methods cannot be compared"
    test = paired("full_lora", "hyperfitted", "ttr", 0.02, None, seed=0, num_seeds_b=1,
                  reason=reason)  # fmt: skip
    found = with_second_method(replace(study, tests=[*study.tests, test]), 0.5)
    assert certainty.METHODS_ONCE in certainty.trainings_in_words(found)
    row = table_of_tests(found, "tests", [test]).rows[0]
    cells = [(c.text, c.reason) for c in row[3:]]
    assert cells == [
        ("+0.020 [-0.080, +0.120]", reason),
        ("contexts only", ""),
        ("–", reason),
        ("–", reason),
        ("–", "needs several trainings"),
    ]


def test_several_trainings_say_from_where_on_a_difference_can_be_claimed(tmp_path, page_of):
    text = " ".join(section(page_of(seeds=(0, 1, 2)), "tests").split())
    assert "3 trainings, contexts</td>" in text
    assert "<td>0.046</td>" in text
    assert "one training each" not in text
    study = read_study(plant(tmp_path / "seeds", seeds=(0, 1, 2)))
    test = paired(
        "hyperfitted", "full_lora", "ttr", 0.02, 0.4, num_seeds=3, num_seeds_b=2,
        noise="trainings and contexts", claimable=0.0456,
    )  # fmt: skip
    found = replace(study, tests=[test])
    assert certainty.trainings_in_words(found)[-1] == (
        "hyperfitted (3 seeds) minus full_lora: TTR +0.020; a difference can be claimed from 0.046 "
        "on with these trainings."
    )
    assert table_of_tests(found, "tests", [test]).rows[0][4].value == "3 and 2 trainings, contexts"


@pytest.mark.parametrize(("loss", "is_said"), [(5.7, True), (0.6, False)])
def test_a_null_that_has_not_learned_its_windows_is_no_evidence(loss, is_said):
    null = Arm("late_stage_lora", settings=(("null", "shuffled"),))
    losses = {
        Arm("late_stage_lora", seed=0): 0.4, Arm("late_stage_lora", seed=1): 0.6,
        Arm("late_stage_lora", seed=0, settings=null.settings): loss, Arm("full_sft", seed=0): 9.0,
    }  # fmt: skip
    study = SimpleNamespace(
        runs=[SimpleNamespace(arm=arm, final_loss=value) for arm, value in losses.items()]
    )
    said = nulls_section.not_learned(study, null)
    assert ("5.700 nats per token, its method on the texts at 0.500" in said) == is_said
    assert bool(said) == is_said
