"""Several seeds, runs that differ by a parameter, and checkpoints that are no runs."""

from dataclasses import replace

import pytest

from hyperfitting.config import ReportConfig
from hyperfitting.records import Arm
from hyperfitting.records.study import TunedEntry
from hyperfitting.report import page as pages
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import endings, noise, results, training
from hyperfitting.report.tables import catalogue_table
from tests.report.planted import plant
from tests.report.test_report import section


@pytest.fixture
def seeds(tmp_path):
    return read_study(plant(tmp_path / "study", seeds=(0, 1, 2)))


def names(table):
    return [row[0].value for row in table.rows]


def test_the_mean_over_seeds_is_shown_and_the_seeds_are_folded(seeds):
    main = catalogue_table(seeds, "main")
    assert names(main) == ["human", "original", "hyperfitted (3 seeds)"]
    assert main.rows[2][1].value == "0.710"
    each = results.per_seed(seeds)
    assert names(each) == [f"hyperfitted (seed {seed})" for seed in range(3)]
    assert [row[1].value for row in each.rows] == ["0.700", "0.710", "0.720"]


def test_the_file_has_every_seed_of_every_arm(seeds):
    listed = names(results.every_arm(seeds))
    for arm in ("hyperfitted", "hyperfitted_sampled"):
        assert {f"{arm} (3 seeds)", *(f"{arm} (seed {s})" for s in range(3))} <= set(listed)
    assert len(listed) == len(set(listed)) == 3 + 4 * 4


def test_a_mean_over_seeds_stands_before_its_seeds(seeds):
    listed = [name for name in names(results.every_arm(seeds)) if name.startswith("hyperfitted (")]
    assert listed == ["hyperfitted (3 seeds)", *(f"hyperfitted (seed {s})" for s in range(3))]


def test_noise_is_reported_for_every_pair_and_in_words(seeds):
    assert len(noise.agreements(seeds).rows) == 3
    assert noise.agreement_in_words(seeds) == [
        "hyperfitted (3 seeds): two trainings choose the same token at 0.700 of the positions "
        "(0.700 to 0.700), 3 pairs."
    ]


def test_the_page_of_several_seeds(page_of):
    page = page_of(seeds=(0, 1, 2))
    assert "its interval resamples seeds and contexts" in page
    assert "One training seed per arm" not in page
    assert "Every seed (3 rows)" in section(page, "results")
    assert section(page, "examples").count("<h3>hyperfitted (seed 0)") == 2
    assert "seed 1" not in section(page, "examples")
    assert "How much is noise" in page
    assert "3 runs, 0.030 to 0.050" in section(page, "paper")
    assert "hyperfitted (3 seeds)</th><td>original<" in section(page, "tests").replace("\n", "")


def test_one_seed_says_so(page_of):
    assert "One training seed per arm" in page_of()


def test_the_page_says_where_texts_end_and_how_they_were_written(page_of):
    shown = section(page_of(), "sources")
    assert "&lt;end&gt; (0): the tokenizer&#39;s end of a text, a reason</dd>" in shown
    written = "the model&#39;s cache, texts of one length side by side<br>"
    assert f"{written}<strong>Note:</strong> reads each text anew</dd>" in shown


def test_parameters_are_part_of_the_label(page_of):
    page = page_of(arm="late_stage_lora", parameters={"late.last_blocks": 2})
    assert "late_<wbr>stage_<wbr>lora (last_<wbr>blocks=2)" in section(page, "results")
    assert "late_stage_lora (last_blocks=2), greedy, minus" in section(page, "decoders")
    assert "late_stage_lora (last_blocks=2) is not only" in section(page, "temperature")
    assert "(matched_<wbr>to=late_<wbr>stage_<wbr>lora, last_<wbr>blocks=2)" in page


def test_a_foreign_checkpoint_has_no_training(page_of, tmp_path):
    page = page_of(arm="tuned", seeds=(None,), is_foreign=True)
    shown = section(page, "training")
    assert "checkpoint someone/adapter" in shown
    assert "trained parameters" not in shown
    assert "digest" not in section(page, "sources").split("<dt>texts")[0]
    assert "not taught to stop" not in page
    study = read_study(plant(tmp_path / "again", arm="tuned", seeds=(None,), is_foreign=True))
    assert study.curves == {}
    assert study.first == Arm("tuned")
    assert pages.sections(study, {}, ReportConfig())["training"]["monitor_contexts"] == 0


def test_who_was_not_taught_to_stop_is_said_on_other_texts_too(tmp_path):
    """By how the runs were trained; the texts of another source are always whole."""
    study = read_study(plant(tmp_path / "study"))
    data = study.info.data.model_copy(update={"windows": "documents"})

    def is_untaught(windows):
        runs = [run.model_copy(update={"windows": windows}) for run in study.info.runs]
        info = study.info.model_copy(update={"data": data, "runs": runs})
        return endings.content(replace(study, info=info), {}, ReportConfig())["never_taught"]

    assert is_untaught("fixed")
    assert not is_untaught("documents")
    assert not is_untaught(None), "an earlier version: as its texts say"


def test_a_checkpoint_without_a_final_loss_has_a_dash():
    def run(loss):
        return TunedEntry(arm=Arm("hyperfitted", 0), path=None, final_loss=loss)

    assert training.final_loss([run(None)]).value == "–"
    assert training.final_loss([run(None)]).reason
    assert training.final_loss([run(0.25), run(None)]).value == "0.250"
    assert training.final_loss([run(None), run(0.25)]).interval == ""
