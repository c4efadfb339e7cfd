"""The first sentences, and every rule of advice: what it finds, and what it leaves alone."""

from dataclasses import replace

import pytest

from hyperfitting.records import Arm
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.tasks import TaskScore
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import verdict
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


def task(change, higher=True):
    return TaskScore(
        arm=ARM, task="facts", metric="acc", filter="none", higher_is_better=higher, value=0.5,
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
        ({"hyperfitted__ttr": 0.23}, "the type-token ratio did not rise (0.200 to 0.230)"),
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
    assert verdict.meaning(study, ARM) == "All of this is over 60 contexts and 3 trainings."


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


@pytest.mark.parametrize(("sampled", "words"), [(0.4, "does not do it"), (0.68, "does as much")])
def test_the_third_sentence_compares_with_a_temperature(sampled, words, tmp_path):
    study = study_with(tmp_path / "s")
    row = measurement("original_entropy_matched_sampled", "ttr", sampled, 0,
                      parameters={"matched_to": "hyperfitted"})  # fmt: skip
    said = verdict.meaning(replace(study, rows=[*study.rows, row]), ARM)
    assert said.startswith(
        f"The original, made exactly as sharp and sampled, has {sampled:.3f}: a "
    )
    assert words in said


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
