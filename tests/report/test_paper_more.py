"""The paper's Tables 5 to 8 from planted studies, each cell by hand; and what brings the others."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hyperfitting.records import Arm
from hyperfitting.records.judged import Outcome, Rate
from hyperfitting.records.study import DecoderRun
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import paper
from hyperfitting.report.sections.paper_more import (
    decoder_table,
    domain_table,
    judge_table,
    lacking,
    time_table,
)
from tests.report.planted import measurement, plant
from tests.report.test_paper import printed


@pytest.fixture
def study(folder):
    return read_study(folder)


def named(study, name):
    model = study.info.model.model_copy(update={"name": name})
    return replace(study, info=study.info.model_copy(update={"model": model}))


def texts_of(table):
    return [[each.value for each in row] for row in table.rows]


def judgement(a="late_stage_lora", b="full_lora", *, seed=0, mode="fixed_length", **settings):
    def outcome(wins, losses, ties):
        rates = (
            Rate(percent=100 * each / 200, low=10.0, high=90.0) for each in (wins, losses, ties)
        )
        win, loss, tie = rates
        return Outcome(n=200, wins=wins, losses=losses, ties=ties, win_rate=win, loss_rate=loss,
                       tie_rate=tie, p=0.04, reason=None)  # fmt: skip

    questions = {"winner": outcome(110, 80, 10), "coherence": outcome(100, 90, 10),
                 "diversity": outcome(90, 100, 10)}  # fmt: skip
    sides = {
        key: SimpleNamespace(arm=Arm.named(name, seed, own), mode=mode)
        for key, name, own in (("a", a, settings), ("b", b, {}))
    }
    judge = SimpleNamespace(model="a judge")
    return SimpleNamespace(**sides, questions=questions, protocol="both orders", judge=judge)


def test_the_judge_has_one_row_a_question_and_the_papers_values_for_its_model(study):
    judged = replace(study, judgements=[judgement("hyperfitted", "original"), judgement()])
    table = judge_table(judged)
    assert texts_of(table) == [
        ["Coherence", "50.0", "45.0", "5.0"],
        ["Diversity", "45.0", "50.0", "5.0"],
        ["Total", "55.0", "40.0", "5.0"],
    ]
    assert table.rows[0][1].interval == "[10.0, 90.0]"
    assert printed(table) == {}
    theirs = printed(judge_table(named(judged, "Qwen/Qwen2.5-1.5B")))
    assert theirs["Total", "late-stage wins"] == "57.3 [50.1, 64.2]"
    assert theirs["Diversity", "loses"] == "51.8 [44.6, 58.9]"
    assert not judge_table(study)


def test_the_judge_of_several_trainings_has_rows_of_each(study):
    table = judge_table(replace(study, judgements=[judgement(seed=0), judgement(seed=2)]))
    assert [row[0].value for row in table.rows] == [
        f"{question} (seed {seed})"
        for seed in (0, 2)
        for question in ("Coherence", "Diversity", "Total")
    ]


@pytest.mark.parametrize("other", [{"strength": 0.5}, {"null": "shuffled"}, {"mode": "natural"}])
def test_the_judge_of_other_texts_is_not_the_papers(study, other):
    assert not judge_table(replace(study, judgements=[judgement(**other)]))


def test_domains_stand_below_each_other_with_the_papers(study):
    assert not domain_table(study)
    elsewhere = {
        "ag_news": [measurement("hyperfitted", m, v, 0) for m, v in (("ttr", 0.6), ("mauve", 0.8))],
        "mine.txt": [measurement("hyperfitted", "ttr", 0.5, 0)],
    }
    several = replace(named(study, "google/gemma-2-2b"), elsewhere=elsewhere)
    table = domain_table(several)
    assert texts_of(table) == [["d", "0.700", "–"], ["ag_news", "0.600", "0.800"],
                               ["mine.txt", "0.500", "–"]]  # fmt: skip
    assert set(printed(table).values()) == {"0.782", "0.956"}
    assert printed(domain_table(replace(several, info=study.info))) == {}


def test_decoders_stand_between_the_original_and_the_tuned_model(study):
    assert not decoder_table(study)
    arm = Arm("original", None, (("p", 0.1),), "min_p")
    runs = [DecoderRun(arm=arm, decoder="min_p:0.1", is_deterministic=False,
                       alone_equals_batch=None, alone_n=0)]  # fmt: skip
    info = study.info.model_copy(update={"decoders": runs})
    row = measurement("original+min_p", "ttr", 0.5, parameters={"p": 0.1})
    decoded = replace(study, info=info, rows=[*study.rows, row])
    assert printed(decoder_table(decoded)) == {}
    table = decoder_table(named(decoded, "google/gemma-2-2b"))
    assert table.rows[0][0].value == "original"
    assert [row[-1].value for row in table.rows] == ["yes", "no", "yes"]
    assert table.rows[1][1].value == "0.500"
    assert table.rows[1][1].paper == "0.49 to 0.51"
    assert table.rows[0][3].paper == "0.01 to 0.08"


LATE = "late_stage_lora"


def timed(study, *runs):
    shared = {"epochs": 2, "num_train": 2, "peak_bytes": None}
    entries = [study.info.runs[0].model_copy(update=shared | run) for run in runs]
    return replace(study, info=study.info.model_copy(update={"runs": entries}))


def test_time_is_in_hours_beside_full_fine_tuning_of_the_same_length(study):
    late = {"arm": Arm(LATE, 0), "method": LATE}
    several = timed(
        study,
        {"train_seconds": 7200.0, "peak_bytes": 3_600_000_000},
        {"train_seconds": 1800.0, **late},
        {"train_seconds": 900.0, "epochs": 9, **late},
    )
    assert printed(time_table(several)) == {}
    table = time_table(named(several, "google/gemma-2-2b"))
    hours = [row[2].value for row in table.rows]
    assert hours == ["2.000", "0.500", "0.250"]
    assert [row[3].value for row in table.rows] == ["1.00", "4.00", "–"]
    assert "another number of epochs" in table.rows[2][3].reason
    two = timed(
        study,
        {"train_seconds": 100.0},
        {"train_seconds": 50.0, "arm": Arm("hyperfitted", 1)},
        {"train_seconds": 10.0, "arm": Arm(LATE, 1), "method": LATE},
    )
    assert [row[3].value for row in time_table(two).rows] == ["1.00", "1.00", "5.00"]
    assert table.rows[0][3].paper == "1.000"
    assert table.rows[1][2].paper == "10.400"
    assert [row[-1].value for row in table.rows] == ["3.6", "–", "–"]
    # Planted TTRs are .1, .3 and .5 at epochs 0, 1 and 2 of 2.
    assert [each.value for each in table.rows[0][4:6]] == ["1", "2 to 2"]
    assert table.rows[0][5].note == "2.000 to 2.000 h of 3 points"
    assert table.rows[1][4].reason == "not monitored"


def test_what_is_not_here_says_what_would_bring_it(study):
    said = lacking(study, paper.tables(study))
    assert [line.split(" needs ")[0] for line in said] == ["Table 5", "Table 6", "Table 7"]
    assert "trainings by late_stage_lora and full_lora" in said[0]
    assert "hyperfit judge STUDY --a late_stage_lora --b full_lora" in said[0]
    assert lacking(study, [])[0].startswith("Table 1 needs")
    plain = replace(study, judgements=[judgement()])
    assert not any("Table 5" in line for line in lacking(plain, paper.tables(plain)))


def test_the_page_lists_it(page):
    assert "Not here, and what would bring it" in page


def test_a_study_of_foreign_checkpoints_has_no_time(tmp_path):
    assert not time_table(read_study(plant(tmp_path / "foreign", is_foreign=True)))
