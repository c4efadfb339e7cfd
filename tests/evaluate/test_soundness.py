"""Coherence under the original and words that do not exist, through a whole evaluation."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from hyperfitting.config import DataConfig, ModelConfig, ReportConfig
from hyperfitting.data.windows import Contexts
from hyperfitting.evaluate.arms import human_outputs, paths
from hyperfitting.evaluate.measurements import measurements
from hyperfitting.evaluate.per_context import metric_values
from hyperfitting.evaluate.soundness import (
    audit_nonwords,
    audit_original_coherence,
    words_beside,
)
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.measure.words import why_undefined
from hyperfitting.models.forward import nll_rows
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.report.load import read_study
from hyperfitting.report.verb import report
from tests.comparing import CONTINUATION, EVALUATE, changed, comparison, dataset, evaluated
from tests.evaluate.test_audits import ABOUT, CONFIG, HUMAN, written
from tests.measure.test_words import CHINESE, ENGLISH, GERMAN
from tests.tiny import save_tiny, tiny_model

NONWORDS, COHERENCE = "nonwords", "coherence_original_nats"

# Coherence


def test_coherence_of_every_arm_is_minus_the_mean_of_nll_rows(tmp_path):
    """Also of sampled, matched and otherwise decoded texts, which nothing else scores."""
    folder = save_tiny(tmp_path, "llama")
    config = EVALUATE.model_copy(update={"decoders": "min_p:0.1", "natural_tokens": 0})
    _, arms, columns = evaluated(comparison(folder, changed), config)
    original = load_model(ModelConfig(name=str(folder), device="cpu"))
    assert {"human", "original", "tuned", "tuned_sampled", "original_entropy_matched",
            "original+min_p"} <= set(arms)  # fmt: skip
    for name, outputs in arms.items():
        expected = np.mean(
            [
                -nll_rows(original, paths(texts), CONTINUATION).mean(axis=1)
                for texts in outputs.draws
            ],
            axis=0,
        )
        assert columns[name, COHERENCE, None] == pytest.approx(expected, abs=1e-5)
        assert (columns[name, COHERENCE, None] <= 0).all()
    matched = columns["original_entropy_matched", COHERENCE, None]
    assert (matched == columns["original", COHERENCE, None]).all()


def test_texts_that_were_scored_are_not_run_again(tmp_path, monkeypatch):
    found, _, columns = evaluated(
        comparison(save_tiny(tmp_path, "llama"), changed),
        EVALUATE.model_copy(update={"sampling_seeds": 2, "natural_tokens": 0}),
    )
    run = []

    def counted(model, rows, *args, **options):
        run.extend(map(tuple, rows))
        return nll_rows(model, rows, *args, **options)

    monkeypatch.setattr("hyperfitting.evaluate.soundness.nll_rows", counted)
    again = audit_original_coherence(found.arms, tiny_model(), CONTINUATION, Progress())
    for outputs in again:
        assert outputs.audit[COHERENCE] == columns[outputs.arm.name, COHERENCE, None].tolist()
    (drawn,) = (a.draws for a in found.arms if a.arm.name == "tuned_sampled")
    assert sorted(run) == sorted({tuple(row) for texts in drawn for row in paths(texts)})


# Words


def share_of(arms, training=()):
    """The cells of `nonwords`, by arm, of planted texts."""
    tokenizer = load_tokenizer(ModelConfig(name="builtin", device="cpu"))
    rows = [tokenizer(text)["input_ids"] for text in training]
    found = audit_nonwords(arms, words_beside(arms[0], tokenizer, rows))
    columns = [c for outputs in found for c in metric_values(outputs, 0)]
    return {r.arm: r for r in measurements(columns, CONFIG, **ABOUT) if r.metric == NONWORDS}


def test_invented_words_are_counted_and_those_of_the_training_texts_are_not():
    human = written(HUMAN, [ENGLISH, "the simit was good. "])
    tuned = written(Arm("t", 0), ["The chalfths of simit andretched by the wall. ", "a cat. "])
    assert share_of([human, tuned])["t"].mean == (2 / 7) / 2
    known = share_of([human, tuned], training=["So he took two chalfths of it."])
    assert known["t"].mean == (1 / 7) / 2
    of_human = known["human"]
    assert (of_human.mean, of_human.n, of_human.undefined) == ((0 + 1 / 4) / 2, 2, 0)  # simit


def test_draws_are_averaged_and_a_text_without_words_is_undefined():
    human = written(HUMAN, [ENGLISH, ENGLISH])
    drawn = written(Arm("t", 0).sampled(), ["a xqat. ", "Ha! "], ["a cat. ", "a cat. "])
    found = share_of([human, drawn])["t_sampled"]
    assert (found.mean, found.n, found.undefined) == (0.25, 1, 1)


@pytest.mark.parametrize(("text", "percent"), [(GERMAN, "16 %"), (CHINESE, "0 %")])
def test_another_language_has_no_value_and_says_so(text, percent):
    arms = [written(HUMAN, [text, text]), written(Arm("t", 0), [ENGLISH, "the cat. "])]
    found = share_of(arms)
    for cell in (found["human"], found["t"]):
        assert (cell.mean, cell.n, cell.undefined) == (None, 0, 2)
        assert cell.reason == (
            f"only {percent} of the human words stand in the English word list: no list for this "
            "language"
        )


def test_few_words_say_nothing_of_the_language():
    found = share_of([written(HUMAN, ["the cat. ", "A B C. "])])["human"]
    assert found.reason == "the human texts have fewer than 20 words without a capital"
    assert why_undefined(0.7) is None


def test_the_reason_stays_where_a_model_was_trained_several_times():
    arms = [written(HUMAN, [GERMAN]), *(written(Arm("t", seed), ["the cat. "]) for seed in (0, 1))]
    tokenizer = load_tokenizer(ModelConfig(name="builtin", device="cpu"))
    known = words_beside(arms[0], tokenizer, [])
    columns = [c for o in audit_nonwords(arms, known) for c in metric_values(o, 0)]
    rows = [r for r in measurements(columns, CONFIG, **ABOUT) if r.metric == NONWORDS]
    assert [r.num_seeds for r in rows if r.arm == "t"] == [1, 1, 2]
    assert all("no list for this language" in r.reason for r in rows)


# A whole study


def english_study(folder):
    """The built-in model beside itself, on four texts; two checkpoints, no runs."""
    builtin = ModelConfig(name="builtin", device="cpu")
    model, tokenizer = load_model(builtin), load_tokenizer(builtin)
    rows = [tokenizer(f"{part}, {ENGLISH}")["input_ids"] for part in ENGLISH.split(", ")[:4]]
    data = dataset(len(rows))
    contexts = Contexts([r[:8] for r in rows], [r[8:24] for r in rows], ["t"] * len(rows))
    compared = comparison(
        "builtin", lambda: load_model(builtin), data=replace(data, contexts=contexts)
    )
    about = DataConfig(source="t").model_dump(mode="json")
    compared.data.update(about | {"contexts_digest": contexts.digest()})
    human = human_outputs(contexts, Tokens.of(model, tokenizer))
    config = EVALUATE.model_copy(update={"sampling_seeds": 1, "natural_tokens": 0})
    return evaluate(compared, config, folder), human


def test_both_stand_in_the_file_on_the_page_and_in_the_tables(tmp_path):
    study, human = english_study(tmp_path / "study")
    rows = json.loads(study.measurements_file.read_text())["rows"]
    cells = {(r["arm"], r["metric"]): r for r in rows if r["metric"] in (NONWORDS, COHERENCE)}
    arms = {r["arm"] for r in rows if r["metric"] == "ttr"}
    assert set(cells) == {(arm, metric) for arm in arms for metric in (NONWORDS, COHERENCE)}
    assert all(cell["mean"] is not None for cell in cells.values())
    assert cells["human", COHERENCE]["mean"] < cells["original", COHERENCE]["mean"] < 0
    assert cells["human", NONWORDS]["mean"] == 0 == human.num_unknown
    report(study.path, ReportConfig(num_examples=0))
    page = study.report_file.read_text()
    results = page.split('<section id="results">')[1].split("</section>")[0]
    assert ">Coherence<" in results
    assert "Words that do not exist" in results
    assert "and the text is intact by both measures: coherence" in results
    with (study.tables / "arms.csv").open() as file:
        header = next(csv.reader(file))
    assert "Words that do not exist (share)" in header
    assert any(name.startswith("Coherence (mean log-likelihood under the orig") for name in header)
    assert read_study(study).first == Arm("tuned")
