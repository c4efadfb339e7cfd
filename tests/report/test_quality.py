"""What the report says of other decoders, of quality and of other texts."""

import json
from dataclasses import replace

import pytest
from scipy import stats

from hyperfitting.cli.show import study_summary
from hyperfitting.config import ReportConfig
from hyperfitting.config.judge import JudgeConfig
from hyperfitting.judge.verb import judge
from hyperfitting.records import Arm
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.record import write_file
from hyperfitting.records.study import DecoderRun, Stopped
from hyperfitting.records.tasks import Harness, TaskResults, TaskScore, TaskSettings
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import sources
from hyperfitting.report.sections.decoders import decoders
from hyperfitting.report.sections.domains import domains
from hyperfitting.report.sections.judge import judgements
from hyperfitting.report.sections.quality import mauve_in_words, quality
from hyperfitting.report.sections.results import every_arm
from hyperfitting.report.sections.tasks import tasks
from hyperfitting.report.verb import report
from tests.judge.serving import sections, serving, verdict
from tests.report.planted import measurement, plant

MIN_P = {"arm": "original+min_p", "seed": None, "parameters": {"min_p": 0.1}}
MAUVE = {
    "features": "gpt2-large", "position": "last", "token_limit": 1024, "texts_cut": 0,
    "scaling": 5.0, "kmeans_seeds": 5,
    "arms": [
        {"arm": arm, "seed": None, "parameters": {}, "n": n, "buckets": n + 1, "dimensions": 1,
         "per_seed": [[0.5]], "spread": spread, "small_sample": True, "reason": None}
        for arm, n, spread in (("human", 1, None), ("original", 2, 0.012))
    ],
}  # fmt: skip

TASK = {"task": "t<i>", "metric": "acc", "filter": "none", "higher_is_better": True, "value": 0.25,
        "stderr": 0.1, "n": 8, "reason": None}  # fmt: skip
CHANGE = MeanEstimate(mean=-0.125, low=-0.25, high=0.0, n=8)
TASKS = TaskResults(
    harness=Harness(name="lm_eval", version="0"),
    settings=TaskSettings(
        limit=None, num_fewshot=0, chat_template=False, resamples=100, confidence=0.95, seed=0,
        trust_remote_code=False,
    ),
    tasks=[],
    arms=[],
    rows=[
        TaskScore(arm=Arm("original"), difference=None, **TASK),
        TaskScore(arm=Arm("hyperfitted", 0), difference=CHANGE, **TASK),
    ],
)  # fmt: skip


def opinion(prompt):
    """Of the first context the scripted judge prefers the tuned text, of the second the place."""
    texts, _ = sections(prompt)
    is_first = texts["CONTEXT"].endswith("0") and "script" in texts["B"]
    return json.dumps(verdict("B" if is_first else "A"))


def judged(study):
    """`hyperfit judge` of the two contexts, by a judge of a hostile name."""
    with pytest.MonkeyPatch.context() as patch, serving(key=None, answer=opinion) as server:
        patch.setenv("OPENAI_API_KEY", "none")
        patch.setenv("NO_PROXY", "127.0.0.1")
        name = "judge\x1b[31m<b>"
        judge(study.path, JudgeConfig(a="hyperfitted", b="original", model=name,
                                      endpoint=server.url))  # fmt: skip


def row(arm, metric, mean, *, domain="d", seed=None, parameters=None):
    return {
        "arm": arm, "metric": metric, "mean": mean, "low": mean - 0.01, "high": mean + 0.01,
        "n": 2, "undefined": 0, "model": "m", "domain": domain, "seed": seed,
        "parameters": parameters or {},
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A planted study that was also decoded otherwise, and evaluated on the texts `e`."""
    study = plant(tmp_path_factory.mktemp("quality"))
    info = json.loads(study.study_file.read_text())
    info["elsewhere"] = [{"data": info["data"] | {"source": "e"}, "num_contexts": 2, "mauve": {}}]
    info["decoders"] = [
        {"arm": MIN_P, "decoder": "min_p:0.1", "is_deterministic": False,
         "alone_equals_batch": None, "alone_n": 0},
        {"arm": MIN_P | {"arm": "original+beam", "parameters": {"beams": 5}}, "decoder": "beam:5",
         "is_deterministic": True, "alone_equals_batch": 0.875, "alone_n": 8},
    ]  # fmt: skip
    info["mauve"] = MAUVE
    info["evaluate"]["coherence_model"] = "builtin"
    foreign = dict(info["generations"][0]) | {"domain": "e", "file": "nowhere.jsonl"}
    info["generations"].append(foreign)
    measured = json.loads(study.measurements_file.read_text())
    measured["rows"] += [
        row("original+min_p", "ttr", 0.612, parameters={"min_p": 0.1}),
        row("original+min_p", "looped_rate", 0.25, parameters={"min_p": 0.1}),
        row("original+beam", "ttr", 0.123, parameters={"beams": 5}),
        row("hyperfitted", "mauve", 0.954, seed=0),
        row("human", "mauve", 0.896),
        row("hyperfitted", "overlap_mean", 18.4, seed=0),
        row("hyperfitted+citation_blocked", "overlap_mean", 6.3, seed=0),
        row("human", "ttr", 0.811, domain="e"),
        row("hyperfitted", "ttr", 0.733, domain="e", seed=0),
        row("hyperfitted", "delta_dim_block_output", 7.25, domain="e", seed=0),
    ]
    study.study_file.write_text(json.dumps(info))
    study.measurements_file.write_text(json.dumps(measured))
    study.timings_file.write_text(
        json.dumps({"arms": [MIN_P | {"tokens_per_second": 1234.4}], "version": 1})
    )
    write_file(study.tasks_file, TASKS)
    judged(study)
    return study


@pytest.fixture(scope="module")
def study(folder):
    return read_study(folder)


def cells(table, name):
    """The row that starts with `name`, by column."""
    labels = [f"{label} {unit}".strip() for label, unit in table.header]
    found = next(r for r in table.rows if r[0].value.startswith(name))
    return dict(zip(labels, found, strict=True))


def test_decoders_stand_beside_greedy_with_what_they_cost(study):
    found = cells(decoders(study), "original+min_p (min_p=0.1)")
    assert found["TTR distinct tokens / tokens"].value == "0.612"
    assert found["Looped (natural) share of texts"].value == "0.25"
    assert found["Draws at random"].value == "yes"
    assert found["Alone = in a batch texts"].value == "–"
    assert found["Speed tokens/s"].value == "1,234"
    beam = cells(decoders(study), "original+beam")
    assert (beam["Draws at random"].value, beam["Alone = in a batch texts"].value) == (
        "no",
        "7 of 8",
    )
    assert cells(decoders(study), "human")["Draws at random"].value == "–"
    assert cells(decoders(study), "hyperfitted")["Draws at random"].value == "no"


def test_a_mean_over_trainings_is_decoded_as_each_of_them(study):
    """Runs are listed by training; what the page shows is their mean."""
    drawn, still = ("min_p", {"p": 0.1}), ("beam", {"beams": 5})
    rows, runs = [], []
    for name, own in (drawn, still):
        for seed, (alone, share) in enumerate(((0.5, 0.2), (1.0, 0.4))):
            arm = Arm.named(f"late_stage_lora+{name}", seed, own)
            is_still = name == "beam"
            stopped = Stopped(share=share, tokens_saved=share / 2, human_share=0.0, n=4)
            runs.append(
                DecoderRun(
                    arm=arm, decoder=name, is_deterministic=is_still, alone_n=4,
                    alone_equals_batch=alone if is_still else None,
                    stopped=stopped if is_still else None,
                )
            )  # fmt: skip
            rows.append(measurement(arm.name, "ttr", 0.6, seed, parameters=own))
        rows.append(measurement(arm.name, "ttr", 0.6, None, parameters=own, num_seeds=2))
    info = study.info.model_copy(update={"decoders": runs})
    several = replace(study, info=info, rows=[*study.rows, *rows])
    table = decoders(several)
    found = cells(table, "late_stage_lora+min_p (p=0.1, 2 seeds)")
    assert found["Draws at random"].value == "yes"
    found = cells(table, "late_stage_lora+beam (beams=5, 2 seeds)")
    assert found["Draws at random"].value == "no"
    assert found["Alone = in a batch texts"].value == "6 of 8"
    assert found["Stopped share of texts"].value == "0.30"
    assert found["Tokens saved share"].value == "0.15"
    assert several.is_drawn(Arm.named("late_stage_lora+min_p", None, drawn[1]))


def test_ties_are_those_of_the_studys_own_texts(study):
    """The planted study was evaluated on other texts too, whose entries come last."""
    *own, foreign = study.info.generations
    assert foreign.domain == "e"
    changed = foreign.model_copy(update={"ties": 99})
    info = study.info.model_copy(update={"generations": [*own, changed]})
    found = sources.ties(replace(study, info=info))
    assert found
    assert not any(text.startswith("99 ") for text in found.values())


def test_copies_stand_beside_those_without_citations(study):
    rows = [[row[0].value, row[-1].value] for row in quality(study).rows]
    assert ["hyperfitted", "18.4"] in rows
    assert rows[-1] == ["hyperfitted+citation_blocked", "6.3"]


def test_the_terminal_prints_what_was_asked_for_beside_greedy_text(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    study_summary(folder, read_study(folder), [])
    out = capsys.readouterr().out
    titles = ("\nOther decoders\n", "\nQuality\n", "\nOther texts\n", "\nTasks\n")
    places = [out.index(title) for title in titles]
    assert places == sorted(places)
    tables = [out[a:b] for a, b in zip(places, [*places[1:], None], strict=True)]
    assert "0.612 .602–.622" in tables[0]
    assert "0.954 .944–.964" in tables[1]
    assert "0.733 .723–.743" in tables[2]
    assert "-0.125 [-0.250, 0.000]" in tables[3]  # a dash would be mistaken for a sign
    assert "\x1b[31m" not in out


def test_decoder_arms_are_no_tuned_models_and_no_greedy_ones(study):
    assert study.tuned == [Arm("hyperfitted", 0)]
    assert all("+" not in arm.name for arm in study.greedy)


def test_a_study_without_decoders_or_other_texts_has_no_such_table(tmp_path):
    plain = read_study(plant(tmp_path))
    assert not decoders(plain)
    assert not domains(plain)
    assert mauve_in_words(plain) == ""


def test_domains_stand_side_by_side_and_apart_from_the_main_table(study):
    found = cells(domains(study), "hyperfitted")
    assert found["TTR e"].value == "0.733"
    assert found["dimensions, last block e"].value == "7.2"
    assert found["TTR d"].value == "0.700"  # planted for the study's own texts
    own = study.cell(Arm("hyperfitted", 0), "ttr")
    assert own is not None
    assert own.domain == "d"


def test_mauve_of_human_halves_is_said_apart_and_is_in_no_column(study):
    """n = 1 a side and 2 buckets, where the arms have 2 and 3: no ceiling for them."""
    assert cells(decoders(study), "human")["MAUVE"].value == "–"
    assert cells(every_arm(study), "human")["MAUVE"].value == "–"
    words = mauve_in_words(study)
    assert "0.896 [0.886, 0.906] (n = 1 a side, 2 buckets)" in words
    assert "no ceiling" in words


def test_mauve_comes_with_everything_it_depends_on(study):
    assert cells(quality(study), "hyperfitted")["MAUVE"].value == "0.954"
    words = mauve_in_words(study)
    for part in ("gpt2-large", "1024", "n = 2", "3 buckets", "5 k-means seeds", "0.012", "noisy"):
        assert part in words


def test_a_judgement_comes_with_its_intervals_and_its_judge(study):
    found = judgements(study)
    assert [line[2].value for line in found.rows] == ["winner", "coherence", "diversity"]
    first = cells(found, "hyperfitted against original")
    low, high = 100 * stats.beta.ppf(0.025, 1, 2), 100 * stats.beta.ppf(0.975, 2, 1)
    assert first["a wins %"].text == f"50.0 [{low:.1f}, {high:.1f}]"  # 1 of 2, exact
    assert first["a loses %"].value == "0.0"
    assert first["p sign test"].value == "1"  # of one pair that is no tie
    assert first["changes with the order %"].value == "50.0"
    assert first["pairs left out"].line == "2 0 left out"
    assert first["judge"].value == "judge[31m<b>"


def test_tasks_come_with_their_change(study):
    found = tasks(study)
    assert [line[0].value for line in found.rows] == ["original", "hyperfitted"]
    assert cells(found, "hyperfitted")["change tuned - original"].text == "-0.125 [-0.250, 0.000]"
    assert cells(found, "original")["change tuned - original"].value == ""


def test_the_page_has_the_sections(folder):
    report(folder.path, ReportConfig(num_examples=1))
    page = folder.report_file.read_text()
    for name in ("quality", "judge", "decoders", "domains", "tasks"):
        assert page.count(f'<section id="{name}">') == 1
    assert "judge[31m&lt;b&gt;" in page
    assert "18.4" in page
    assert (folder.tables / "decoders.csv").exists()
