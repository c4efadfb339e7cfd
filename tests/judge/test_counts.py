"""Counts of tokens that a server states, and how answers are kept whatever it states."""

import json

import pytest

from hyperfitting.judge.counts import counted
from hyperfitting.judge.verb import judge
from tests.judge.serving import make_study, serving

STATED = {
    "400": 400, "400.0": 400, "0": 0, "1000000000": 10**9, "1000000001": None, "5.5": None,
    "1e308": None, "Infinity": None, "-Infinity": None, "NaN": None, "true": None, "false": None,
    "-5": None, '"400"': None, "null": None, "[400]": None, "{}": None, "9" * 401: None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "count"), STATED.items(), ids=[text[:12] for text in STATED])
def test_whole_numbers_are_counts_and_nothing_else_is(text, count):
    found = counted(json.loads(text))
    assert found == count
    assert type(found) is type(count)


def page(usage, model='"m"'):
    verdict = {"winner": "A", "coherence_a": 7, "coherence_b": 3, "diversity_a": 6,
               "diversity_b": 2, "reasoning": ""}  # fmt: skip
    message = json.dumps({"role": "assistant", "content": json.dumps(verdict)})
    return (
        f'{{"id": "x", "object": "chat.completion", "created": 0, "model": {model}, "usage": '
        f'{usage}, "choices": [{{"index": 0, "finish_reason": "stop", "message": {message}}}]}}'
    )


@pytest.mark.parametrize(
    ("stated", "count"),
    [("4000.0", 8000), ("0", 0), ("5.5", None), ("1e308", None), ("1e400", None), ("true", None),
     ("-5", None), ('"400"', None), ("Infinity", None), ("NaN", None), ("9" * 401, None)],
    ids=lambda value: str(value)[:12],
)  # fmt: skip
def test_an_answer_is_kept_whatever_the_server_counts(tmp_path, settings, stated, count):
    study = make_study(tmp_path / "study", ["alpha"])
    with serving() as server:
        server.page = page(f'{{"prompt_tokens": {stated}, "completion_tokens": {stated}}}')
        entry = judge(study, settings(server, reasks=0, retries=0))
        assert len(server.bodies) == 2
    assert (entry.n, entry.usage.prompt_tokens, entry.usage.answer_tokens) == (1, count, count)
    with serving() as idle:
        assert judge(study, settings(idle, reasks=0)).usage == entry.usage
    assert not idle.bodies


@pytest.mark.parametrize("usage", ["null", "[]", '"many"', "7", "{}"])
def test_an_account_of_another_form_is_none(tmp_path, settings, usage):
    study = make_study(tmp_path / "study", ["alpha"])
    with serving() as server:
        server.page = page(usage)
        entry = judge(study, settings(server, retries=0))
    assert (entry.n, entry.usage.prompt_tokens) == (1, None)


@pytest.mark.parametrize(("model", "named"), [('"a\\ud800b"', ["ab"]), ("7", []), ("null", [])])
def test_an_odd_name_of_the_model_costs_no_answer(tmp_path, settings, model, named):
    study = make_study(tmp_path / "study", ["alpha"])
    with serving() as server:
        server.page = page("null", model)
        entry = judge(study, settings(server, retries=0))
    assert (entry.n, entry.judge.answered_by) == (1, named)
