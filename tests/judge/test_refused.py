"""Refusals of `max_tokens` and `temperature` in the words of real servers."""

import json

import pytest

from hyperfitting.errors import InputError
from hyperfitting.judge.refused import leaves_no_room, refused_option
from hyperfitting.judge.verb import judge
from tests.judge.serving import make_study, serving

INSTEAD = "Use 'max_completion_tokens' instead."
OPENAI_TOKENS = {
    "message": f"Unsupported parameter: 'max_tokens' is not supported with this model. {INSTEAD}",
    "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter",
}  # fmt: skip
OPENAI_TEMPERATURE = {
    "message": "Unsupported value: 'temperature' does not support 0.0 with this model. Only the "
    "default (1) value is supported.",
    "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value",
}  # fmt: skip
# Status and body, and the setting that is to be left out.
REFUSALS = {
    "openai max_tokens": (400, {"error": OPENAI_TOKENS}, "max_tokens"),
    "openai temperature": (400, {"error": OPENAI_TEMPERATURE}, "temperature"),
    "copilot": (
        400,
        {"error": {"message": OPENAI_TOKENS["message"], "code": "invalid_request_body"}},
        "max_tokens",
    ),
    "o3 temperature": (
        400,
        {"error": {"message": "Unsupported parameter: 'temperature' is not supported with this "
                   "model.", "param": "temperature"}},
        "temperature",
    ),
    "vllm, a validator": (
        400,
        {"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', "
         "'max_completion_tokens'), 'msg': 'Extra inputs are not permitted', 'input': 800}]",
         "type": "BadRequestError", "param": None, "code": 400},
        "max_tokens",
    ),
    "fastapi": (
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "temperature"],
                     "msg": "Extra inputs are not permitted", "input": 0.0}]},
        "temperature",
    ),
    "tgi": (
        422,
        {"error": "Input validation error: `temperature` must be strictly positive",
         "error_type": "validation"},
        "temperature",
    ),
    "bedrock": (
        400,
        {"message": "The model returned the following errors: `temperature` is deprecated for "
         "this model."},
        "temperature",
    ),
}  # fmt: skip


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study", ["alpha"] * 3)


@pytest.mark.parametrize(("status", "body", "name"), REFUSALS.values(), ids=REFUSALS)
def test_a_refused_setting_is_named_with_its_cure(study, settings, status, body, name):
    with serving() as server:
        server.refuse = lambda sent: (status, body) if name in sent else None
        with pytest.raises(InputError) as error:
            judge(study, settings(server, concurrency=1))
        assert f"refuses {name}=" in error.value.given
        assert f"{name}=null" in error.value.needed
        assert "max_tokens=null temperature=null" in error.value.hint
        assert len(server.bodies) == 1  # no other question could be answered
        entry = judge(study, settings(server, **{name: None}))
    assert entry.n == 3


def test_a_server_that_needs_max_tokens_says_so(study, settings):
    needs = {"type": "error", "error": {"message": "max_tokens: Field required"}}
    with serving() as server:
        server.refuse = lambda sent: None if "max_tokens" in sent else (400, needs)
        with pytest.raises(InputError, match="refuses max_tokens=null.*Field required") as error:
            judge(study, settings(server, max_tokens=None))
        assert error.value.needed == "a value of max_tokens that it accepts"
        assert judge(study, settings(server)).n == 3


LONG = [
    "This model's maximum context length is 2048 tokens. However, you requested 2600 tokens (1576 "
    "in the messages, 1024 in the completion). Please reduce the length of the messages or "
    "completion.",
    "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context "
    "length is 2048 tokens and your request has 1576 input tokens (1024 > 2048 - 1576).",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1576 "
    "`inputs` tokens and 1024 `max_new_tokens`",
    "max_tokens must be at least 1, got -186.",
    "the request exceeds the available context size. try increasing the context size",
]


@pytest.mark.parametrize("message", LONG)
def test_one_prompt_without_room_ends_no_job(study, settings, message):
    refused = []

    def refuse(body):
        if not refused or refused[0] == body["messages"]:
            refused[:] = [body["messages"]]
            return 400, {"error": {"message": message}}
        return None

    with serving() as server:
        server.refuse = refuse
        entry = judge(study, settings(server, concurrency=1))
    assert entry.n == 2
    (reason,) = entry.unusable.reasons
    assert (
        "no room for an answer of 1024 tokens (a smaller max_tokens, or max_tokens=null" in reason
    )


FLAGGED = (403, {"error": {"message": "Your input was flagged"}})
TOO_LONG = (400, {"error": {"message": LONG[1]}})


@pytest.mark.parametrize("refusal", [FLAGGED, TOO_LONG])
def test_questions_that_are_refused_keep_no_other_from_being_asked(tmp_path, settings, refusal):
    """Eight in a row, which are asked again by the same command, after all others."""
    study = make_study(tmp_path / "flagged", ["alpha"] * 6)
    with serving() as server:
        refused = [f"Context {n}," for n in (1, 2, 3, 4)]

        def refuse(body):
            prompt = body["messages"][0]["content"]
            return refusal if any(each in prompt for each in refused) else None

        server.refuse = refuse
        for _ in range(2):
            entry = judge(study, settings(server, concurrency=1))
            assert entry.n == 2
            assert entry.unusable.pairs == 4
        server.refuse = lambda _: None
        assert judge(study, settings(server, concurrency=1)).n == 6


def test_a_key_that_is_revoked_under_way_ends_the_job(tmp_path, settings):
    study = make_study(tmp_path / "revoked", ["alpha"] * 30)
    with serving() as server:
        server.refuse = lambda _: FLAGGED if len(server.bodies) > 4 else None
        with pytest.raises(InputError, match=r"the last 20 questions got no answer.*status 403"):
            judge(study, settings(server, concurrency=1))
    assert len(server.bodies) == 24


@pytest.mark.parametrize("refusal", [FLAGGED, TOO_LONG])
def test_many_that_are_refused_end_the_first_job_and_not_the_second(tmp_path, settings, refusal):
    study = make_study(tmp_path / "flagged", ["alpha"] * 20)
    with serving() as server:
        answered = [f"Context {n}," for n in range(4)]

        def refuse(body):
            prompt = body["messages"][0]["content"]
            return None if any(each in prompt for each in answered) else refusal

        server.refuse = refuse
        with pytest.raises(InputError, match="the last 20 questions got no answer"):
            judge(study, settings(server, concurrency=1))
        entry = judge(study, settings(server, concurrency=1))
    assert entry.n == 4
    assert entry.unusable.pairs == 16


def test_a_prompt_that_is_too_long_is_told_where_no_longest_answer_is_sent(tmp_path, settings):
    study = make_study(tmp_path / "long", ["alpha"] * 2)
    with serving() as server:
        server.refuse = lambda body: TOO_LONG if "Context 1," in str(body["messages"]) else None
        entry = judge(study, settings(server, concurrency=1, max_tokens=None))
    assert entry.n == 1
    assert all("no room for this prompt" in reason for reason in entry.unusable.reasons)


def test_what_failed_before_is_asked_last(tmp_path, settings):
    study = make_study(tmp_path / "study", ["alpha"] * 4)
    with serving() as server:
        server.refuse = lambda _: (500, {"error": {"message": "sorry"}})
        with pytest.raises(InputError, match="the last 5 questions got no answer"):
            judge(study, settings(server, concurrency=1, retries=0))
        server.refuse, server.bodies = lambda _: None, []
        judge(study, settings(server, concurrency=1))
    first = [body["messages"][0]["content"] for body in server.bodies[:3]]
    assert len(server.bodies) == 8
    assert all("Context 2," in each or "Context 3," in each for each in first)


@pytest.mark.parametrize(
    "message",
    [
        "Error code: 400 - {'error': {'message': 'The response was filtered', 'param': 'prompt'}}",
        "{'detail': [{'loc': ['body', 'messages'], 'input': [{'content': 'the temperature'}]}]}",
        "messages: roles must alternate",
        "this_temperature_is",
    ],
)
def test_another_refusal_is_not_blamed_on_our_settings(message):
    assert refused_option(message) is None
    assert not leaves_no_room(message)


def test_the_field_that_names_the_parameter_counts_before_the_words():
    assert refused_option("temperature, max_tokens", "max_tokens") == "max_tokens"
    assert refused_option("temperature and top_p", "top_p") is None
    assert refused_option("", "generation_config.max_output_tokens") == "max_tokens"


def test_a_job_that_has_no_room_at_all_ends_with_the_cure(tmp_path, settings):
    study = make_study(tmp_path / "long", ["alpha"] * 5)
    with serving() as server:
        server.refuse = lambda _: (400, {"error": {"message": LONG[1]}})
        with pytest.raises(InputError, match="max_tokens=null, may cure it"):
            judge(study, settings(server))
    rows = [json.loads(line) for line in (study / "judge" / "answers.jsonl").open()]
    assert {row["status"] for row in rows} == {"failed"}  # asked again by the next job
