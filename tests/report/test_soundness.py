"""No line calls a text varied without saying that it is broken: planted arms."""

import json
from dataclasses import replace

import pytest

from hyperfitting.cli.show import study_summary
from hyperfitting.config import ReportConfig
from hyperfitting.records import Arm
from hyperfitting.report.load import read_study
from hyperfitting.report.sections.decoders import sampled_instead
from hyperfitting.report.sections.results import answers
from hyperfitting.report.sections.soundness import (
    COHERENCE_MARGIN,
    NONWORDS_MARGIN,
    soundness,
    verdicts,
)
from hyperfitting.report.tables import heading
from hyperfitting.report.verb import render_page
from tests.report.planted import MATCHED, plant

TUNED = Arm("hyperfitted", 0)
NOT_ENGLISH = (
    "only 16 % of the human words stand in the English word list: no list for this language"
)


def row(arm, metric, mean, *, seed=None, parameters=None, reason=None):
    bounds = {} if mean is None else {"low": mean - 0.005, "high": mean + 0.005}
    return {
        "arm": arm, "metric": metric, "mean": mean, "low": None, "high": None, "n": 2,
        "undefined": 0, "model": "m", "domain": "d", "mode": "fixed_length", "length": 4,
        "seed": seed, "parameters": parameters or {}, "reason": reason,
    } | bounds  # fmt: skip


def planted(path, coherence, nonwords, *, human=(-4.2, 0.01), reason=None, more=()):
    """A study whose tuned arm has these values."""
    folder = plant(path / "study")
    content = json.loads(folder.measurements_file.read_text())
    for name, seed, values in (("human", None, human), (TUNED.name, 0, (coherence, nonwords))):
        content["rows"] += [
            row(name, "coherence_original_nats", values[0], seed=seed, reason=reason),
            row(name, "nonwords", values[1], seed=seed, reason=reason),
        ]
    content["rows"] += more
    folder.measurements_file.write_text(json.dumps(content))
    return folder


def verdict(folder):
    """What follows "hyperfitted: TTR 0.700"."""
    [line] = verdicts(read_study(folder))
    return line.removeprefix("hyperfitted: TTR 0.700")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            (-8.3, 0.09),
            ", but the text is broken: coherence -8.30 (human -4.20), 9.0 % of words do not exist "
            "(human 1.0 %).",
        ),
        (
            (-8.3, 0.012),
            ", but the text is broken: coherence -8.30 (human -4.20); 1.2 % of words do not exist "
            "(human 1.0 %).",
        ),
        (
            (-3.9, 0.2),
            ", but words are broken: 20.0 % of words do not exist (human 1.0 %); coherence -3.90 "
            "(human -4.20).",
        ),
        (
            (-3.9, 0.012),
            ", and the text is intact by both measures: coherence -3.90 (human -4.20), 1.2 % of "
            "words do not exist (human 1.0 %).",
        ),
    ],
)
def test_what_was_lost_is_said_in_words_and_numbers(tmp_path, values, expected):
    folder = planted(tmp_path, *values)
    assert verdict(folder) == expected
    study = read_study(folder)
    [answer] = answers(study)
    assert answer.startswith(
        "hyperfitted: TTR 0.700 [0.690, 0.710] (original 0.120, human 0.770)" + expected[:-1] + ";"
    )
    page = " ".join(render_page(study, {}, ReportConfig()).split())
    assert answer in page
    assert "TTR alone does not tell varied text from word salad." in page


def test_undefined_values_are_not_known_and_their_reason_is_said(tmp_path):
    folder = planted(tmp_path, -3.9, None, human=(-4.2, None), reason=NOT_ENGLISH)
    assert verdict(folder) == (
        ", and the text is intact by one measure: coherence -3.90 (human -4.20); words that do not "
        f"exist not known ({NOT_ENGLISH})."
    )
    folder = planted(tmp_path / "b", -9.0, None, human=(-4.2, None), reason=NOT_ENGLISH)
    assert verdict(folder) == (
        ", but the text is broken: coherence -9.00 (human -4.20); words that do not exist not "
        f"known ({NOT_ENGLISH})."
    )
    folder = planted(tmp_path / "c", None, None, reason="infinite")
    assert verdict(folder) == (
        ", whether the text is intact is not known: coherence not known (infinite), words that do "
        "not exist not known (infinite)."
    )


def test_a_study_that_did_not_measure_it_says_so(tmp_path):
    folder = plant(tmp_path / "study")
    assert verdict(folder) == (
        ", whether the text is intact is not known: coherence not known (not measured), words that "
        "do not exist not known (not measured)."
    )
    assert "word salad" not in render_page(read_study(folder), {}, ReportConfig())


def test_the_limits_are_1_5_nats_and_2_points_beyond_the_interval(tmp_path):
    assert (COHERENCE_MARGIN, NONWORDS_MARGIN) == (1.5, 0.02)
    for n, (values, is_broken) in enumerate(
        [((-5.69, 0.0), False), ((-5.71, 0.0), True), ((-4.2, 0.034), False), ((-4.2, 0.036), True)]
    ):
        study = read_study(planted(tmp_path / str(n), *values))
        assert soundness(study, TUNED).is_broken == is_broken
    # A text likelier than the human one is none that was lost.
    assert not soundness(read_study(planted(tmp_path / "x", -0.1, 0.0)), TUNED).is_broken


def test_a_comparison_with_sampling_says_whose_text_is_broken(tmp_path):
    matched = {"matched_to": "hyperfitted"}
    more = [
        row(f"{MATCHED}_sampled", "coherence_original_nats", -4.0, seed=0, parameters=matched),
        row(f"{MATCHED}_sampled", "nonwords", 0.01, seed=0, parameters=matched),
    ]
    [sentence] = sampled_instead(read_study(planted(tmp_path, -8.3, 0.01, more=more)))
    assert sentence.endswith(
        "greedy text is the more varied; of hyperfitted, the text is broken: coherence -8.30 "
        "(human -4.20); 1.0 % of words do not exist (human 1.0 %)."
    )
    [sentence] = sampled_instead(read_study(planted(tmp_path / "b", -4.0, 0.01, more=more)))
    assert sentence.endswith("greedy text is the more varied.")


def test_the_terminal_says_it_below_the_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    folder = planted(tmp_path, -8.3, 0.09)
    study_summary(folder, read_study(folder), [])
    out = " ".join(capsys.readouterr().out.split())
    assert "hyperfitted: TTR 0.700, but the text is broken: coherence -8.30 (human -4.20), 9" in out


def test_the_column_of_a_reference_model_has_its_name(tmp_path):
    folder = plant(tmp_path / "study")
    assert heading(read_study(folder), "coherence_nats") == "Coherence under the reference"
    info = json.loads(folder.study_file.read_text())
    info["evaluate"]["coherence_model"] = "gpt2-large"
    folder.study_file.write_text(json.dumps(info))
    study = read_study(folder)
    assert heading(study, "coherence_nats") == "Coherence under gpt2-large"
    assert heading(study, "coherence_original_nats") == "Coherence"


def test_broken_text_that_is_not_varied_either_is_no_contrast(tmp_path):
    study = read_study(planted(tmp_path, -8.3, 0.3))
    assert soundness(study, TUNED).in_words.startswith(", but the text is broken")
    rows = [replace(r, mean=0.05) if (r.arm, r.metric) == (TUNED.name, "ttr") else r
            for r in study.rows]  # fmt: skip
    looping = replace(study, rows=rows)
    assert soundness(looping, TUNED).in_words.startswith(", and the text is broken")
