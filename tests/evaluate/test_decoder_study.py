"""A study with other decoders: what is written and tested, and what its arms must not count as."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from hyperfitting.data.store import save_dataset
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.generate.specs import parse_decoders
from hyperfitting.measure.text import type_token_ratio
from hyperfitting.report.load import read_study
from hyperfitting.report.sections.decoders import decoders
from hyperfitting.runs import RunFolder, StudyFolder
from hyperfitting.storage import read_json
from tests.comparing import changed, comparison
from tests.evaluate.test_decoding import CONFIG, DATA, END, alone
from tests.tiny import tiny_model

ON_ALL = "min_p:0.1,no_repeat_ngram:2"


def restless(seed):
    """A tuned model that ends some of its texts by itself."""
    model = changed(scale=0.3 + seed / 10)
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(model.lm_head.weight.shape[0]))
    with torch.no_grad():
        model.lm_head.bias[END] = 1.0
    return model


@pytest.fixture(scope="module")
def study(model_folder, tmp_path_factory):
    """Two trainings of one arm with their training sets, under every kind of decoding."""
    folder = tmp_path_factory.mktemp("decoders")
    compared = comparison(model_folder, *(partial(restless, s) for s in (0, 1)), data=DATA)
    for n, tuned in enumerate(compared.tuned):
        (folder / f"run-{n}").mkdir()
        save_dataset(RunFolder(folder / f"run-{n}").windows_file, DATA)
        compared.tuned[n] = replace(tuned, path=folder / f"run-{n}")
    wanted = {"decoders": ON_ALL, "decoders_on": "all", "citation_blocked": True}
    evaluate(compared, CONFIG.model_copy(update=wanted), folder / "study")
    return StudyFolder(folder / "study")


def test_on_all_models_each_has_its_own_texts(study):
    specs = {spec.name: spec for spec in parse_decoders(ON_ALL)}
    found, endings = [], set()
    for entry in read_json(study.study_file)["generations"]:
        name, _, decoder = entry["arm"].partition("+")
        if decoder not in specs:
            continue
        draw = entry["parameters"].get("sampling_seed", 0)
        found.append((name, entry["seed"], decoder, entry["mode"], draw))
        model = tiny_model() if name == "original" else restless(entry["seed"])
        texts = study.read_generations(entry["file"])
        for n, text in enumerate(texts):
            seed = [draw, n]
            expected = alone(specs[decoder], model, text.context_ids, seed, entry["mode"])
            assert text.continuation_ids == expected
        if entry["mode"] == "natural":
            endings |= {text.ending for text in texts}
    models = [("original", None), ("tuned", 0), ("tuned", 1)]
    drawn = [("min_p", "fixed_length", draw) for draw in range(CONFIG.sampling_seeds)]
    kinds = [*drawn, ("min_p", "natural", 0)]
    kinds += [("no_repeat_ngram", mode, 0) for mode in ("fixed_length", "natural")]
    assert found == [(*model, *kind) for model in models for kind in kinds]
    assert endings >= {"ended", "truncated"}


def test_no_decoder_arm_is_treated_as_a_tuned_model(study):
    written = read_json(study.study_file)
    usual = {"cache": "ours", "position_ids": True, "together": "any lengths", "note": None}
    assert written["decoding"] == usual
    assert {entry["arm"] for entry in written["entropy_matching"]} == {"tuned"}
    [agreement] = written["run_agreement"]
    assert (agreement["a"]["arm"], agreement["b"]["arm"]) == ("tuned", "tuned")
    measured = read_json(study.measurements_file)
    blocked = {e["seed"] for e in written["generations"] if "citation_blocked" in e["arm"]}
    assert blocked == {0, 1}
    models_only = {"val_loss", "prediction_entropy_nats", "top1_agreement_tf", "tau_star"}
    for row in measured["rows"]:
        assert "+" not in row["arm"] or row["metric"] not in models_only
    assert not any("+" in test["a"] for test in measured["tests"])


def test_tuned_models_are_tested_against_the_original_s_decoders(study):
    found = [test for test in read_json(study.measurements_file)["tests"] if "+" in test["b"]]
    tests = [test for test in found if test["margin"] is None]
    equal = [test for test in found if test["margin"] is not None]
    names = [f"original+{spec.name}" for spec in parse_decoders(ON_ALL)]
    assert [(t["b"], t["metric"]) for t in equal] == [(name, "ttr") for name in names]
    assert all(t["p"] is None and 0 <= t["p_equivalence"] <= 1 for t in equal)
    texts = ("ttr", "bigram_repetition", "trigram_repetition")
    expected = [
        (f"original+{spec.name}", dict(spec.parameters), metric, 2)
        for spec in parse_decoders(ON_ALL)
        for metric in texts
    ]
    assert expected == [(t["b"], t["b_parameters"], t["metric"], t["num_seeds"]) for t in tests]

    def mean_ttr(arm):
        listed = read_json(study.study_file)["generations"]
        files = [e["file"] for e in listed if (e["arm"], e["mode"]) == (arm, "fixed_length")]
        assert len(files) == 2  # two trainings, or two sampling seeds
        texts = [g.continuation_ids for file in files for g in study.read_generations(file)]
        return np.mean([type_token_ratio(text) for text in texts])

    [ttr] = [t for t in tests if (t["b"], t["metric"]) == ("original+min_p", "ttr")]
    assert ttr["difference"] == pytest.approx(mean_ttr("tuned") - mean_ttr("original+min_p"))
    assert ttr["p_holm"] >= ttr["p"]


def test_the_page_says_what_stopping_did(model_folder, tmp_path):
    wanted = {"decoders": "stop:4,min_pattern_size=1,min_count=2", "natural_tokens": 20}
    config = CONFIG.model_copy(update=wanted)
    evaluate(comparison(model_folder, changed, data=DATA), config, tmp_path / "study")
    folder = StudyFolder(tmp_path / "study")
    [run] = read_json(folder.study_file)["decoders"]
    table = decoders(read_study(folder))
    assert [name for name, _ in table.header[-3:]] == [
        "Stopped", "Tokens saved", "Human texts stopped",
    ]  # fmt: skip
    row = next(row for row in table.rows if row[0].text.startswith("original+stop"))
    expected = [run["stopped"][key] for key in ("share", "tokens_saved", "human_share")]
    assert [cell.text for cell in row[-3:]] == [f"{value:.2f}" for value in expected]
