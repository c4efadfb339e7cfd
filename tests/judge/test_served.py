"""What a server says with the status of a success and is no answer to what was asked."""

import pytest

from hyperfitting.errors import InputError
from hyperfitting.judge.job import ask, questions
from hyperfitting.judge.pairs import choose_pairs, find_side, read_pairs
from hyperfitting.judge.reply import Message, Reply, why_unread
from hyperfitting.judge.served import served_error
from hyperfitting.judge.verb import judge
from hyperfitting.runs import StudyFolder
from tests.judge.serving import KEY, make_study, serving


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study", ["alpha", "alpha", "beta", "first"])


class Answered:
    """As the client leaves it: fields that it does not know are attributes."""

    def __init__(self, **fields):
        self.__dict__ |= fields


@pytest.mark.parametrize(
    ("error", "status", "may_pass"),
    [
        ({"code": 402, "message": "Insufficient credits"}, 402, False),
        ({"code": "429", "message": "slow down"}, 429, True),
        ({"code": 502, "message": "upstream"}, 502, True),
        ({"code": "rate_limit_exceeded", "message": "slow down"}, 429, True),
        ({"type": "overloaded_error", "message": "busy"}, 503, True),
        ({"code": 7, "message": "odd"}, None, False),
        ("no credit", None, False),
    ],
)
def test_the_status_of_an_error_object_is_read_from_its_own_words(error, status, may_pass):
    choice = Answered(error=error, message=None)
    for completion in (Answered(error=error, choices=None), Answered(choices=[choice])):
        found = served_error(completion)
        assert (found.status_code, found.may_pass) == (status, may_pass)
        assert str(found) == (error if isinstance(error, str) else error["message"])
    assert served_error(Answered(error=None, choices=[Answered(message="m")])) is None
    assert served_error("a page") is None


def test_the_servers_reason_is_shown_and_nothing_is_asked_in_vain(study, settings):
    with serving() as server:
        error = {"code": 402, "message": f"Insufficient credits for {KEY}"}
        server.refuse = lambda _: (200, {"error": error, "user_id": "u"})
        entry = judge(study, settings(server, orders="single"))
        assert reasons(entry) == {"failed: status 402: Insufficient credits for [key]": 4}
        assert len(server.bodies) == 4


def reasons(entry):
    return entry.unusable.reasons


def test_an_error_that_may_pass_is_waited_for_like_its_status(study, settings):
    busy = {"error": {"code": 429, "message": "slow down"}}
    with serving() as server:
        server.refuse = lambda _: (200, busy) if len(server.bodies) == 1 else None
        entry = judge(study, settings(server, orders="single", concurrency=1))
        assert entry.n == 4
        assert len(server.bodies) == 5
        assert server.times[1] - server.times[0] > 0.3


def test_a_refused_key_ends_the_job_whatever_the_status(study, settings):
    with serving() as server:
        server.refuse = lambda _: (200, {"error": {"code": 401, "message": "who are you?"}})
        with pytest.raises(InputError, match=r"refused the key \(status 401\): who are you"):
            judge(study, settings(server, concurrency=1))


@pytest.mark.parametrize("page", ['{"detail": "the model is asleep"}', '"the model is asleep"'])
def test_an_answer_of_another_form_is_told(study, settings, page):
    with serving() as server:
        server.page = page
        with pytest.raises(InputError, match="no chat completion: .*the model is asleep"):
            judge(study, settings(server, concurrency=1))


def test_a_count_below_the_words_means_that_the_prompt_was_cut():
    prompt = [Message("user", "one two three four five six seven eight nine ten")]
    assert why_unread(prompt, 7).startswith("the server counted 7 tokens in a prompt of 10 words")
    assert [why_unread(prompt, count) for count in (8, 500, 0, None)] == [None] * 4


def test_no_verdict_comes_from_a_prompt_that_was_cut(study, settings):
    with serving() as server:
        server.counted = 64
        entry = judge(study, settings(server, orders="single"))
        assert entry.n == 0
        assert all("failed: the server counted 64 tokens" in reason for reason in reasons(entry))
        assert sum(reasons(entry).values()) == 4
        assert entry.usage.prompt_tokens == 4 * 64  # they were paid for
        server.counted = 1000  # a longer context: the same command asks again
        assert judge(study, settings(server, orders="single")).n == 4


def test_a_cut_prompt_is_not_asked_again_at_once(study, settings):
    folder = StudyFolder(study)
    sides = [find_side(folder, arm, "fixed_length") for arm in ("late_stage_lora", "full_lora")]
    config = settings(endpoint="http://localhost:1/v1")
    question = questions(choose_pairs(read_pairs(folder, *sides), 1, seed=0), config, "m")[0]
    asked = []

    def server(messages):
        asked.append(messages)
        return Reply("{}", None, 3, 1, None, unread="cut")

    answer, _ = ask(question, server, config)
    assert (answer.status, answer.reason, answer.requests) == ("failed", "cut", 1)
    assert len(asked) == 1
