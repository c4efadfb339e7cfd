"""The first sentences, and every rule of advice: what it finds, and what it leaves alone."""

from dataclasses import replace

import pytest

from hyperfitting.records import Arm
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.tasks import TaskScore
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import only_sharper, verdict
from tests.report.planted import measurement, plant

ARM = Arm("hyperfitted", 0)
GOOD = {
    ("original", "ttr"): 0.2, ("human", "ttr"): 0.75, ("hyperfitted", "ttr"): 0.7,
    ("original", "looped_rate"): 0.9, ("hyperfitted", "looped_rate"): 0.0,
    ("original", "ended_rate"): 0.5, ("hyperfitted", "ended_rate"): 0.45,
    ("hyperfitted", "nonwords"): 0.004, ("human", "nonwords"): 0.001,
    ("hyperfitted", "coherence_original_nats"): -3.9, ("human", "coherence_original_nats"): -4.2,
    ("hyperfitted", "overlap_gt_10"): 0.02,
    ("original", "val_ppl"): 60.0, ("hyperfitted", "val_ppl"): 900.0,
}  # fmt: skip


def study_with(folder, loss=0.03, contexts=60, seeds=3, tasks=(), **changed):
    cells = GOOD | {tuple(name.split("__")): value for name, value in changed.items()}
    rows = [
        measurement(arm, metric, value, 0 if arm == "hyperfitted" else None,
                    num_seeds=seeds if arm == "hyperfitted" else 1)
        for (arm, metric), value in cells.items()
    ]  # fmt: skip
    study = read_study(plant(folder))
    run = study.info.runs[0].model_copy(update={"final_loss": loss})
    info = study.info.model_copy(update={"num_contexts": contexts, "runs": [run]})
    return replace(study, info=info, rows=rows, tasks=list(tasks))


def task(change, higher=True, arm=ARM):
    return TaskScore(
        arm=arm, task="facts", metric="acc", filter="none", higher_is_better=higher, value=0.5,
        stderr=None, n=48, reason=None,
        difference=MeanEstimate(value=change, low=None, high=None, n=48, reason=None),
    )  # fmt: skip


def found_by(study):
    return [each.found for each in verdict.advice(study, ARM)]


def test_a_study_without_fault_has_no_advice(tmp_path):
    assert found_by(study_with(tmp_path / "s")) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": 0.8}, "the training loss is 0.80, not near zero"),
        ({"hyperfitted__ttr": 0.23}, "the type-token ratio rose by little (TTR 0.200 to 0.230)"),
        ({"hyperfitted__nonwords": 0.2}, "words are broken: 20.0 % of words do not exist"),
        ({"hyperfitted__coherence_original_nats": -7.0}, "the text is broken: coherence -7.00"),
        ({"hyperfitted__overlap_gt_10": 0.4}, "40 % of texts recite more than 10 tokens"),
        ({"hyperfitted__ended_rate": 0.1}, "50 % of texts ended by themselves, now 10 %"),
        ({"tasks": [task(-0.2)]}, "facts fell by 0.20"),
        ({"tasks": [task(0.2, higher=False)]}, "facts fell by 0.20"),
        ({"contexts": 12}, "12 contexts: another draw"),
        ({"seeds": 1}, "1 training: another draw"),
    ],
)
def test_each_rule_finds_what_was_planted_and_nothing_else(changes, words, tmp_path):
    study = study_with(tmp_path / "s", **changes)
    (found,) = found_by(study)
    assert found.startswith(words)


def test_a_loss_that_is_not_near_zero_is_told_with_how_many_trainings_have_one(tmp_path):
    study = study_with(tmp_path / "s")
    losses = enumerate((0.05, 0.9, 0.6))
    runs = [
        study.info.runs[0].model_copy(update={"arm": Arm("hyperfitted", n), "final_loss": loss})
        for n, loss in losses
    ]
    several = replace(study, info=study.info.model_copy(update={"runs": runs}))
    found = verdict.loss_not_near_zero(several, Arm("hyperfitted"))
    assert found.found == "the training loss is up to 0.90 in 2 of 3 trainings, not near zero"


@pytest.mark.parametrize(
    ("contexts", "seeds", "words"),
    [
        (20, 3, "at least 30 contexts (data.num_heldout)"),
        (60, 1, "at least 3 seeds (train.seed)"),
        (20, 1, "at least 30 contexts (data.num_heldout) and 3 seeds (train.seed)"),
    ],
)
def test_what_may_help_is_what_there_are_too_few_of(contexts, seeds, words, tmp_path):
    [found] = verdict.advice(study_with(tmp_path / "s", contexts=contexts, seeds=seeds), ARM)
    assert found.change == words


@pytest.mark.parametrize("score", [task(0.3), task(-0.05), task(-0.3, higher=False)])
def test_a_task_that_holds_is_no_fault(score, tmp_path):
    assert found_by(study_with(tmp_path / "s", tasks=[score])) == []


def test_a_task_falls_by_the_mean_of_the_trainings_not_by_the_worst_of_them(tmp_path):
    falls = [task(change, arm=Arm("hyperfitted", seed)) for seed, change in enumerate((0, -0.6, 0))]
    others = [task(-0.9, arm=Arm("late_half", 0))]
    study = study_with(tmp_path / "s", tasks=falls + others)
    assert found_by(study) == ["facts fell by 0.20"]
    assert verdict.cost(study, ARM).endswith("facts loses most, 0.20.")


def test_the_three_sentences_say_what_was_gained_lost_and_meant(tmp_path):
    study = study_with(tmp_path / "s", tasks=[task(-0.2)])
    assert verdict.gained(study, ARM) == (
        "Decoded greedily, hyperfitted (3 seeds), which trains every parameter, loops in 0 % of "
        "its texts, where the original does in 90 %; its type-token ratio is 0.700 [0.690, 0.710] "
        "(the original 0.200, human text 0.750)."
    )
    assert verdict.cost(study, ARM) == (
        "The price: 0.4 % of its words do not exist (human text 0.1 %); 2 % of its texts recite "
        "more than 10 tokens of the training; perplexity on held-out text goes from 60 to 900; of "
        "the tasks facts loses most, 0.20."
    )
    assert verdict.untrained(study, ARM) == ""
    assert verdict.meaning(study, ARM) == (
        "It is not only sharper; all of this is over 60 contexts and 3 trainings."
    )


def test_the_longest_copy_is_named(tmp_path):
    study = study_with(tmp_path / "s", hyperfitted__overlap_max=81.0)
    assert (
        "2 % of its texts recite more than 10 tokens of the training, the longest run is 81;"
        in verdict.cost(study, ARM)
    )


def test_the_longest_copy_is_that_of_all_trainings_and_not_their_mean(tmp_path):
    """As a study of an earlier version has it, where the row over seeds is the mean."""
    study = study_with(tmp_path / "s")
    rows = [
        *study.rows,
        measurement("hyperfitted", "overlap_gt_10", 0.02, None, num_seeds=2),
        measurement("hyperfitted", "overlap_max", 30.0, None, num_seeds=2),
        measurement("hyperfitted", "overlap_max", 20.0, 0),
        measurement("hyperfitted", "overlap_max", 40.0, 1),
    ]
    run = study.info.runs[0]
    runs = [run.model_copy(update={"arm": Arm("hyperfitted", seed)}) for seed in (0, 1)]
    info = study.info.model_copy(update={"runs": runs})
    said = verdict.cost(replace(study, info=info, rows=rows), Arm("hyperfitted"))
    assert "the longest run is 40" in said


@pytest.mark.parametrize(
    ("sampled", "coherence", "said"),
    [
        (0.74, -4.5, "As varied without any training is original_sampled: type-token ratio "
         "0.740, though it draws at random."),
        (0.74, -9.0, ""),  # no text any more
        (0.69, -4.5, ""),  # less varied
    ],
)  # fmt: skip
def test_what_is_as_varied_without_training_is_named(sampled, coherence, said, tmp_path):
    study = study_with(
        tmp_path / "s",
        original_sampled__ttr=sampled,
        original_sampled__coherence_original_nats=coherence,
    )
    assert verdict.untrained(study, ARM) == said


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("rejected", "it is not only sharper"),
        ("as a temperature", "it is only another temperature"),
        ("open", "whether it is only sharper is not shown"),
    ],
)
def test_the_third_sentence_says_what_the_tests_say_of_sampled_and_sampled(
    says, words, tmp_path, monkeypatch
):
    """Never by the distance of two means, and never greedy text beside sampled text."""
    monkeypatch.setattr(verdict, "is_only_sharper", lambda *_: says)
    study = study_with(tmp_path / "s", hyperfitted_sampled__ttr=0.68)
    assert verdict.meaning(study, ARM).startswith(words[0].upper() + words[1:] + "; all of this")
    rows = [
        measurement("original_entropy_matched_sampled", "ttr", 0.4, 0,
                    parameters={"matched_to": "hyperfitted"}),
        measurement("hyperfitted_sampled", "ttr", 0.68, 0),
    ]  # fmt: skip
    said = verdict.meaning(replace(study, rows=[*study.rows, *rows]), ARM)
    assert said.startswith(
        "Both sampled, the original made exactly as sharp, its type-token ratio is 0.680 and the "
        f"original's 0.400: {words}; all of this"
    )


def test_the_verdict_on_sharpness_is_that_of_its_section(tmp_path):
    study = study_with(tmp_path / "s")
    says = [each.says for each in only_sharper.evidence(study, ARM)]
    assert "rejected" in says
    assert only_sharper.is_only_sharper(study, ARM) == "rejected"
    [sentence] = only_sharper.verdicts(study)
    assert "is not only sharper" in sentence
    without = replace(study, info=study.info.model_copy(update={"entropy_matching": []}))
    assert only_sharper.is_only_sharper(without, ARM) is None
    assert verdict.meaning(without, ARM) == "All of this is over 60 contexts and 3 trainings."


def test_a_rise_that_no_test_shows_is_not_called_one(tmp_path):
    study = replace(study_with(tmp_path / "s", hyperfitted__ttr=0.23), tests=[])
    assert "no rise of variety is shown (TTR 0.200 to 0.230)" in found_by(study)


def test_who_trains_everything_is_not_told_to_train_more(tmp_path):
    changes = {"hyperfitted__ttr": 0.23, "hyperfitted__nonwords": 0.2}
    every = verdict.advice(study_with(tmp_path / "s", **changes), ARM)
    assert not any("--method" in each.change for each in every)
    few = Arm("late_stage_lora", 0)
    study = study_with(tmp_path / "t")
    rows = [replace(row, arm=few.model) if row.key == ARM else row for row in study.rows]
    rows = [replace(r, mean=0.2) if (r.key, r.metric) in ((few, "ttr"), (few, "nonwords")) else r
            for r in rows]  # fmt: skip
    changed = [each.change for each in verdict.advice(replace(study, rows=rows), few)]
    assert sum("--method" in change for change in changed) == 2


def test_endings_lost_by_whole_texts_need_other_advice(tmp_path):
    study = study_with(tmp_path / "s", hyperfitted__ended_rate=0.1)
    [advice] = verdict.advice(study, ARM)
    assert advice.change == "train on whole texts (--windows documents)"
    run = study.info.runs[0].model_copy(update={"windows": "documents"})
    taught = replace(study, info=study.info.model_copy(update={"runs": [run]}))
    [advice] = verdict.advice(taught, ARM)
    assert "--windows" not in advice.change


def test_without_a_tuned_model_there_is_no_verdict(folder):
    study = read_study(folder)
    alone = replace(study, rows=[r for r in study.rows if r.arm in ("human", "original")])
    assert verdict.content(alone, {}, None) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/data/models/smollm2", "smollm2"),
        ("../models/SmolLM2.gguf", "SmolLM2.gguf"),
        ("a/b/c", "c"),
        ("C:\\models\\smollm2", "smollm2"),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        ("builtin", "builtin"),
        ("/", "/"),
    ],
)
def test_a_heading_names_the_last_part_of_a_path(name, shown, folder):
    study = read_study(folder)
    model = study.info.model.model_copy(update={"name": name})
    info = study.info.model_copy(update={"model": model})
    assert replace(study, info=info).title == f"{shown} on {study.domain}"
