"""Texts side by side say of each only what is known of it."""

from dataclasses import replace

import pytest

from hyperfitting.config import ReportConfig
from hyperfitting.errors import InputError
from hyperfitting.evaluate import arms, scoring
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.measure.text import type_token_ratio
from hyperfitting.records import HUMAN
from hyperfitting.report.load import read_study
from hyperfitting.report.sections import examples
from hyperfitting.report.tables import MISSING
from tests.comparing import EVALUATE, changed, comparison, dataset
from tests.report.small import save
from tests.tiny import tiny_model


def test_human_text_of_unknown_tokens_has_no_ttr(tmp_path, monkeypatch):
    data = dataset(3)
    compared = comparison(save(tiny_model(), tmp_path / "original"), changed, data=data)
    whole = arms.human_outputs

    def human_outputs(*given):
        return replace(whole(*given), unknown_N=[0.0, 0.5, 0.0])

    monkeypatch.setattr(scoring, "human_outputs", human_outputs)
    folder = evaluate(compared, EVALUATE, tmp_path / "study")
    study = read_study(folder)
    assert study.without_ttr == {1}
    shown = examples.content(study, {}, ReportConfig())["shown"]
    of_human = [each["continuations"][0] for each in shown]
    assert {each["arm"] for each in of_human} == {study.label(HUMAN)}
    texts = study.generations[HUMAN, "fixed_length"]
    known = [f"{type_token_ratio(text.continuation_ids):.2f}" for text in texts]
    assert [each["ttr"] for each in of_human] == [known[0], MISSING, known[2]]
    assert all(c["ttr"] != MISSING for each in shown for c in each["continuations"][1:])
    folder.per_context_file.write_bytes(b"half")
    with pytest.raises(InputError, match=r"per_context\.parquet is damaged"):
        read_study(folder)
    folder.per_context_file.unlink()
    with pytest.raises(InputError, match=r"per_context\.parquet is missing"):
        read_study(folder)
