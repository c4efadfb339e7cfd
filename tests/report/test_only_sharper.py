"""Only sharper, not only sharper, or not shown: by what a temperature leaves alone."""

from dataclasses import replace

import pytest

from hyperfitting.records import Arm
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import decoders, only_sharper
from tests.report.planted import MATCHED, plant

ARM = Arm("hyperfitted", 0)


@pytest.fixture
def study(tmp_path):
    """A study whose tuned model is rejected as a temperature by all four comparisons."""
    return read_study(plant(tmp_path / "study"))


def with_cells(study, **means):
    rows = [
        replace(row, mean=means[row.metric])
        if row.arm == "hyperfitted" and row.metric in means else row
        for row in study.rows
    ]  # fmt: skip
    return replace(study, rows=rows)


def with_tests(study, *, p_holm, p_equivalence):
    tests = [
        replace(t, p_equivalence=p_equivalence) if t.margin else replace(t, p_holm=p_holm)
        for t in study.tests if only_sharper.is_like_with_like(t)
    ]  # fmt: skip
    return replace(study, tests=tests)


def with_matching(study, tau=0.5, **changes):
    [found] = study.matching
    solved = {"mean": tau, "median": tau, "unsolved": 0}
    constant = {"step_residual_nats": 9e-5, "spread_beyond_tolerance": 0.0}
    changed = {
        "per_context": found.per_context.model_copy(update=solved),
        "per_step": found.per_step.model_copy(update=solved),
        "one_temperature": found.one_temperature.model_copy(update=constant),
    }
    matching = [found.model_copy(update=changed | changes)]
    return replace(study, info=study.info.model_copy(update={"entropy_matching": matching}))


PLANTS = {
    "greedy text": lambda s: with_cells(s, top1_agreement_tf=1.0),
    "sampled text": lambda s: with_tests(s, p_holm=0.8, p_equivalence=0.001),
    "temperature of equal entropy": with_matching,
    "order of the tokens": lambda s: with_cells(s, spearman=1 - 1e-9),
}


def pure(study, but=()):
    """The study with all comparisons as a temperature leaves them, but for those named."""
    for name, plant_it in PLANTS.items():
        if name not in but:
            study = plant_it(study)
    return study


def says(study):
    return {each.what: each.says for each in only_sharper.evidence(study, ARM)}


def test_a_pure_temperature_is_only_sharper(study):
    found = pure(study)
    assert set(says(found).values()) == {"as a temperature"}
    [verdict] = only_sharper.verdicts(found)
    assert verdict.startswith("hyperfitted is only sharper: the original at temperature 0.50.")


def test_several_trainings_are_told_by_their_means_and_reject_together_only(study):
    """One is the original at a temperature, the other is not."""
    whole, one = study.matching[0], with_matching(study).matching[0]
    pair = [whole, one.model_copy(update={"arm": Arm("hyperfitted", 1)})]

    def constant(matching):
        info = study.info.model_copy(update={"entropy_matching": matching})
        several = replace(study, info=info)
        found = only_sharper.evidence(several, Arm("hyperfitted"))
        return next(each for each in found if each.what == "temperature of equal entropy")

    found = constant(pair)
    assert found.says == "open"
    assert found.found.endswith("that rejects it in 1 of 2 trainings")
    low = (whole.per_step.p5 + one.per_step.p5) / 2
    high = (whole.per_step.p95 + one.per_step.p95) / 2
    assert f"per step {low:.2f} to {high:.2f} (5 to 95 %, means of 2 trainings)" in found.found
    assert "0.37 nats on average" in found.found, "the mean of .74 and next to nothing"
    twice = [whole, whole.model_copy(update={"arm": Arm("hyperfitted", 1)})]
    assert constant(twice).says == "rejected"


@pytest.mark.parametrize(("tau", "word"), [(2.0, "is only flatter"), (1.0, "is not changed")])
def test_a_temperature_above_1_flattens_and_1_changes_nothing(study, tau, word):
    [verdict] = only_sharper.verdicts(with_matching(pure(study), tau))
    assert word in verdict


@pytest.mark.parametrize("name", PLANTS)
def test_each_comparison_alone_rejects_and_is_named(study, name):
    found = pure(study, but=(name,))
    assert [what for what, verdict in says(found).items() if verdict == "rejected"] == [name]
    [verdict] = only_sharper.verdicts(found)
    assert verdict.startswith(f"hyperfitted is not only sharper. Rejected by {name} (")
    left = verdict.split("As a temperature leaves it: ")[1]
    assert all(other in left for other in PLANTS if other != name)
    assert name not in left


def test_all_four_reject_and_are_named_with_their_numbers(study):
    assert set(says(study).values()) == {"rejected"}
    [verdict] = only_sharper.verdicts(study)
    for words in ("45.0 % of the choices", "0 of 2 texts", "TTR +0.130", "0.74 nats", "0.430"):
        assert words in verdict


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("sampled text", lambda s: replace(s, tests=[])),
        ("sampled text", lambda s: with_tests(s, p_holm=0.2, p_equivalence=0.3)),
        ("temperature of equal entropy", lambda s: with_matching(s, one_temperature=None)),
        (
            "order of the tokens",
            lambda s: replace(s, rows=[r for r in s.rows if r.metric != "spearman"]),
        ),
        (
            "greedy text",
            lambda s: replace(s, rows=[r for r in s.rows if "top1" not in r.metric]),
        ),
    ],
)
def test_what_was_not_measured_leaves_it_open(study, name, without):
    found = without(pure(study))
    assert [what for what, verdict in says(found).items() if verdict == "open"] == [name]
    [verdict] = only_sharper.verdicts(found)
    assert verdict.startswith("hyperfitted: only sharper is neither shown nor rejected. Open: ")
    assert name in verdict


def test_an_entropy_that_no_temperature_gives_is_open(study):
    [matching] = study.matching
    found = with_matching(
        pure(study),
        per_context=matching.per_context.model_copy(update={"unsolved": 2}),
        one_temperature=matching.one_temperature.model_copy(
            update={"step_residual_nats": 0.5, "spread_beyond_tolerance": 0.0}
        ),
    )
    assert says(found)["temperature of equal entropy"] == "open"


def test_greedy_against_sampled_has_no_say(study):
    [test] = [t for t in study.tests if (t.a, t.b) == ("hyperfitted", f"{MATCHED}_sampled")
              and t.margin is None]  # fmt: skip
    assert test.p_holm < 0.05
    found = pure(study)
    found = replace(found, tests=[*found.tests, test])
    assert "only sharper" in only_sharper.verdicts(found)[0]


@pytest.mark.parametrize(
    ("difference", "p_holm", "p_equivalence", "words"),
    [
        (0.1, 0.01, 0.9, "greedy text is the more varied"),
        (-0.1, 0.01, 0.9, "greedy text is the less varied"),
        (-0.01, 0.01, 0.03, "greedy text is the less varied, by less than 0.02"),
        (0.1, 0.05, 0.9, "no difference shown, nor that they are equal within ±0.02"),
        (0.001, 0.8, 0.03, "as varied, within ±0.02 (p = .030)"),
        (0.1, None, None, "no difference shown, nor that they are equal within ±0.02"),
    ],
)
def test_as_varied_is_said_from_a_test_of_equivalence_only(
    study, difference, p_holm, p_equivalence, words
):
    tests = [
        replace(t, p_equivalence=p_equivalence) if t.margin
        else replace(t, difference=difference, p_holm=p_holm)
        for t in study.tests if (t.a, t.b) == ("hyperfitted", f"{MATCHED}_sampled")
    ]  # fmt: skip
    [sentence] = decoders.sampled_instead(replace(study, tests=tests))
    assert sentence.endswith(f" (Holm): {words}.")
