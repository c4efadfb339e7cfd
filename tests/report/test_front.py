"""Who is varied and good at once: planted arms whose place on the front is known."""

import json
from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import pytest

from hyperfitting.config import ReportConfig
from hyperfitting.records import Arm
from hyperfitting.records.study import MauveSettings
from hyperfitting.report.figures.front import border
from hyperfitting.report.figures.front import front as figure_of
from hyperfitting.report.load import read_study
from hyperfitting.report.sections.competitors import fronts, kind, scorers, without_drawn
from hyperfitting.report.sections.front import answers, content, front, outside_in_words, tables
from hyperfitting.report.verb import report
from tests.report.planted import plant

OWN, REFERENCE = "coherence_original_nats", "coherence_nats"
HUMAN, ORIGINAL, SAMPLED = Arm("human"), Arm("original"), Arm("original").sampled()
TUNED = Arm("hyperfitted", 0)
NULL = Arm("hyperfitted", 0, (("null", "shuffled"),))
DRY = ORIGINAL.decoded("dry", {"base": 1.75})
# Variety and coherence; human text has -4. One is likely, one varied, one in between, one beaten.
PLANTED = {
    HUMAN: (0.8, -4.0), ORIGINAL: (0.1, -3.9), TUNED: (0.7, -3.0), SAMPLED: (0.5, -3.5),
    DRY: (0.4, -2.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return read_study(plant(tmp_path_factory.mktemp("front") / "study"))


def rows_of(example, arm, values, *, width=0.01, num_seeds=1):
    shared = {
        "arm": arm.name, "seed": arm.seed, "parameters": arm.parameters, "num_seeds": num_seeds,
        "prefix": None, "reason": None,
    }  # fmt: skip
    return [
        replace(
            example, metric=metric, mean=mean, low=None if mean is None else mean - width,
            high=None if mean is None else mean + width, **shared,
        )
        for metric, mean in values.items()
    ]  # fmt: skip


def study_of(planted, arms, *, metric=OWN, width=0.01, features=None, coherence_model=None):
    """A study of these arms only, each with its TTR and one quality."""
    rows = [
        row
        for arm, (ttr, quality) in arms.items()
        for row in rows_of(planted.rows[0], arm, {"ttr": ttr, metric: quality}, width=width)
    ]
    settings = planted.info.evaluate.model_copy(update={"coherence_model": coherence_model})
    info = planted.info.model_copy(update={"evaluate": settings})
    found = replace(planted, info=info, rows=rows)
    return with_mauve(found, features) if features else found


def with_mauve(study, features):
    settings = MauveSettings(
        features=features, position="last", token_limit=9, texts_cut=0, scaling=5.0,
        kmeans_seeds=5, arms=[],
    )  # fmt: skip
    return replace(study, info=study.info.model_copy(update={"mauve": settings}))


def standings(study):
    """What the table says of every arm by the first scorer."""
    table = front(study, fronts(study))
    return {row[0].value: row[3].value for row in table.rows}


def test_a_planted_front(planted):
    assert standings(study_of(planted, PLANTED)) == {
        "human": "–",
        "original": "on the front",
        "hyperfitted": "on the front",
        "original_sampled": "on the front",
        "original+dry (base=1.75)": "beaten by hyperfitted",  # as far ahead as sampled, and first
    }


def test_the_words_name_the_front_and_where_a_tuned_arm_stands(planted):
    [of] = fronts(study_of(planted, PLANTED))
    assert answers(study_of(planted, PLANTED), of) == [
        "On the front, from the least to the most varied: original; original_sampled; hyperfitted.",
        "hyperfitted: on the front, at its varied end; "
        "no other decoder of the original stands beside it.",
    ]


@pytest.mark.parametrize(
    ("tuned", "words"),
    [
        ((0.05, -4.0), "on the front, at its end of quality"),
        ((0.3, -3.7), "on the front, between its ends"),
        ((0.8, -4.0), "on the front, alone"),
        ((0.4, -2.5), "beaten by original_sampled (TTR, up to human, 0.500 against 0.400; "
                      "nats from human text 0.50 against 1.50)"),
        ((0.495, -3.495), "not told from the front. original_sampled is ahead by the means"),
        ((0.505, -3.505), "on the front, at its varied end; beside it, told from it in neither: "
                          "original_sampled"),
    ],
)  # fmt: skip
def test_every_place_of_a_tuned_arm_has_its_words(planted, tuned, words):
    study = study_of(planted, PLANTED | {TUNED: tuned})
    [of] = fronts(study)
    assert answers(study, of)[1].startswith(f"hyperfitted: {words}")


def test_without_intervals_nothing_is_beaten(planted):
    study = study_of(planted, PLANTED)
    bare = replace(study, rows=[replace(row, low=None, high=None) for row in study.rows])
    assert standings(bare)["original+dry (base=1.75)"] == "not told from the front"
    assert fronts(bare)[0].beside(TUNED) is None, "it is not known"
    assert not any("stands beside" in each for each in answers(bare, fronts(bare)[0]))


def test_more_varied_than_human_is_not_better(planted):
    arms = {HUMAN: (0.6, -4.0), ORIGINAL: (0.1, -1.0), SAMPLED: (0.65, -3.9), TUNED: (0.9, -3.0)}
    assert standings(study_of(planted, arms))["hyperfitted"] == "beaten by original_sampled"
    below = arms | {HUMAN: (0.95, -4.0)}
    assert standings(study_of(planted, below))["hyperfitted"] == "on the front"


@pytest.mark.parametrize("coherence", [-2.0, -6.0])
def test_too_likely_is_as_far_from_human_as_too_unlikely(planted, coherence):
    arms = PLANTED | {SAMPLED: (0.7, -3.5), TUNED: (0.7, coherence)}
    assert standings(study_of(planted, arms))["hyperfitted"] == "beaten by original_sampled"


def test_of_mauve_more_is_better_and_human_text_has_none(planted):
    arms = {HUMAN: (0.8, None), ORIGINAL: (0.1, 0.2), SAMPLED: (0.5, 0.9), TUNED: (0.4, 0.6)}
    study = study_of(planted, arms, metric="mauve", features="gpt2-large")
    [of] = fronts(study)
    assert of.on_it == [SAMPLED]
    assert of.scorer.is_outside
    assert outside_in_words([of]) == ""


def test_human_text_does_not_compete(planted):
    [of] = fronts(study_of(planted, PLANTED))
    assert HUMAN not in of.arms
    assert of.standing(HUMAN) is None


@pytest.mark.parametrize("left", [(HUMAN, ORIGINAL, TUNED), (ORIGINAL, TUNED, SAMPLED), (HUMAN,)])
def test_too_few_arms_or_no_human_value_have_no_section(planted, left):
    study = study_of(planted, {arm: PLANTED[arm] for arm in left})
    assert content(study, {}, ReportConfig()) is None
    assert not tables(study)[0]
    assert figure_of(study) is None


def test_an_arm_without_a_value_is_shown_with_the_reason(planted):
    study = study_of(planted, PLANTED)
    rows = [r for r in study.rows if not (r.key == DRY and r.metric == OWN)]
    found = replace(study, rows=rows)
    assert DRY not in fronts(found)[0].arms
    more = rows_of(study.rows[0], DRY, {OWN: None})
    whole = front(replace(study, rows=rows + more), fronts(found))
    assert [row[0].value for row in whole.rows] == [
        "human", "original", "hyperfitted", "original_sampled",
    ]  # fmt: skip


def test_several_trainings_compete_as_their_mean(planted):
    study = study_of(planted, {arm: PLANTED[arm] for arm in (HUMAN, ORIGINAL, SAMPLED)})
    each = [rows_of(study.rows[0], Arm("hyperfitted", s), {"ttr": t, OWN: -3.0})
            for s, t in ((0, 0.6), (1, 0.8))]  # fmt: skip
    mean = rows_of(study.rows[0], Arm("hyperfitted"), {"ttr": 0.7, OWN: -3.0}, num_seeds=2)
    found = replace(study, rows=[*study.rows, *each[0], *each[1], *mean])
    [of] = fronts(found)
    assert [arm for arm in of.arms if arm.model == "hyperfitted"] == [Arm("hyperfitted")]
    assert standings(found)["hyperfitted (2 seeds)"] == "on the front"


def test_arms_that_draw_nothing_have_a_front_of_their_own(planted):
    study = study_of(planted, PLANTED)
    [of] = fronts(study)
    alone = without_drawn(study, of)
    assert alone.arms == [ORIGINAL, TUNED, DRY]
    assert [each.best for each in alone.standings] == [None, None, 1]
    assert without_drawn(study, alone) is None
    few = study_of(planted, {arm: PLANTED[arm] for arm in (HUMAN, ORIGINAL, TUNED, SAMPLED)})
    assert without_drawn(few, fronts(few)[0]) is None


def test_a_null_beside_a_tuned_arm_and_broken_text_are_named(planted):
    study = study_of(planted, PLANTED | {NULL: (0.695, -3.005)})
    [of] = fronts(study)
    [sentence] = [each for each in answers(study, of) if each.startswith("hyperfitted:")]
    assert sentence.endswith("beside it, told from it in neither: hyperfitted (null=shuffled).")
    assert content(study, {}, ReportConfig())["is_null_known"]
    broken = study_of(planted, PLANTED | {NULL: (0.75, -8.0)})
    assert "hyperfitted (null=shuffled) [the text is broken]." in answers(
        broken, fronts(broken)[0]
    )[0]  # fmt: skip


def test_nulls_are_told_from_the_original_at_the_entropy_of_one():
    matched = ORIGINAL.matched(NULL)
    assert [kind(each) for each in (NULL, matched, NULL.sampled(), TUNED, ORIGINAL, DRY)] == [
        "null", "matched", "sampled", "tuned", "original", "decoder",
    ]  # fmt: skip
    assert kind(TUNED.at_strength(0.5)) == "strength"


def test_scorers_say_whether_they_are_the_original(planted):
    own = planted.info.model.name
    for model, is_outside in ((own, False), ("another", True)):
        study = with_mauve(study_of(planted, PLANTED, coherence_model=model), model)
        assert [each.metric for each in scorers(study)] == ["mauve", REFERENCE, OWN]
        assert [each.is_outside for each in scorers(study)] == [is_outside, is_outside, False]


def test_the_original_by_another_path_is_no_outside_scorer(planted, tmp_path, monkeypatch):
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path)
    model = planted.info.model.model_copy(update={"name": str(tmp_path / "my-model")})
    own = replace(planted, info=planted.info.model_copy(update={"model": model}))
    for name, is_outside in (("./my-model", False), ("my-model/", False), ("other", True)):
        study = with_mauve(study_of(own, PLANTED, coherence_model=name), name)
        assert [each.is_outside for each in scorers(study)] == [is_outside, is_outside, False]


def test_a_name_of_a_scorer_steers_nothing_and_a_long_one_is_cut(planted):
    study = study_of(planted, PLANTED, coherence_model="x\x1b[31m" + "y" * 200)
    assert not any("\x1b" in each.name for each in scorers(study))
    rows = [replace(row, metric=REFERENCE) for row in study.rows if row.metric == OWN]
    [first, _] = figure_of(replace(study, rows=[*study.rows, *rows])).axes
    assert len(first.get_title()) == 60


def test_without_an_outside_scorer_the_page_says_how_to_ask(planted):
    found = content(study_of(planted, PLANTED), {}, ReportConfig())
    assert "mauve_features=MODEL or coherence_model=MODEL" in found["outside"]
    assert found["fronts"][0]["scorer"].startswith("Not an outside scorer: the original itself")


def test_a_column_of_words_that_do_not_exist_stands_last(planted):
    study = study_of(planted, PLANTED)
    words = rows_of(study.rows[0], TUNED, {"nonwords": 0.3})
    table = front(replace(study, rows=[*study.rows, *words]), fronts(study))
    assert table.header[-1][0] == "Words that do not exist"
    assert [row[-1].value for row in table.rows if row[0].value == "hyperfitted"] == ["0.300"]


def test_the_figure_has_a_panel_per_scorer_and_names_front_and_tuned(planted):
    scaled = {TUNED.at_strength(s): (0.3 + s / 10, -2.5) for s in (0.5, 1.5)}
    path = [0.1, scaled[TUNED.at_strength(0.5)][0], 0.7, scaled[TUNED.at_strength(1.5)][0]]
    study = study_of(planted, PLANTED | scaled | {NULL: (0.2, -8.0)}, metric=REFERENCE,
                     coherence_model="another")  # fmt: skip
    own = [replace(row, metric=OWN) for row in study.rows if row.metric == REFERENCE]
    drawn = figure_of(replace(study, rows=[*study.rows, *own]))
    assert [axes.get_title() for axes in drawn.axes] == [
        "Coherence under another", "Coherence under the original",
    ]  # fmt: skip
    for axes in drawn.axes:
        assert {text.get_text() for text in axes.texts} == {
            "human", "original", "original_sampled", "hyperfitted",
        }  # fmt: skip
        joined = [line for line in axes.lines if list(line.get_xdata()) == path]
        assert len(joined) == 1, "original, strengths and tuned arm, in the order of strength"
    plt.close("all")


def test_page_and_files_hold_it(tmp_path, planted):
    folder = plant(tmp_path / "study")
    content = json.loads(folder.measurements_file.read_text())
    example = json.loads(folder.measurements_file.read_text())["rows"][0]
    for arm, (_, coherence) in PLANTED.items():
        if arm != DRY:
            content["rows"].append(example | arm.to_json() | {
                "metric": OWN, "mean": coherence, "low": coherence - 0.1, "high": coherence + 0.1,
            })  # fmt: skip
    folder.measurements_file.write_text(json.dumps(content))
    report(folder.path, ReportConfig())
    page = folder.report_file.read_text()
    section = page.split('<section id="front">')[1].split("</section>")[0]
    assert "<svg" in section
    assert "No outside scorer has a say here" in section
    assert (folder.figures / "front.png").exists()
    assert "on the front" in (folder.tables / "front.md").read_text()


@pytest.mark.parametrize("most", [None, 0.7, 0.95])
def test_the_line_is_the_border_of_what_the_front_dominates(most):
    """Of many points, those under the line are those that a corner dominates."""
    corners = [(0.8, 0.1), (0.2, 0.9), (0.5, 0.5)]
    path = border(corners, 0.0, 1.0, 0.0, most)
    is_open = most == 0.7
    for x in (0.1, 0.3, 0.6, 0.75, 0.9):
        for y in (0.05, 0.3, 0.7, 0.95):
            dominated = any(x <= a and y <= b for a, b in corners)
            dominated |= is_open and x > 0.8 and y <= 0.1
            steps = pairwise(path)
            over = [b[1] for a, b in steps if a[1] == b[1] and a[0] <= x <= b[0]]
            assert dominated == bool(over and y <= over[0]), (x, y)
