"""What is cut, or is nothing but reasoning, is no verdict, whatever JSON stands in it."""

import hashlib
import json

import pytest

from hyperfitting.judge.prompt import PROMPT_DIGEST
from hyperfitting.judge.verb import judge
from hyperfitting.progress import Progress
from hyperfitting.seals import DIGEST
from tests.judge.serving import make_study, opinion, serving, verdict

DRAFT = json.dumps(verdict("B"))


class Told(Progress):
    def __init__(self):
        super().__init__()
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study", ["alpha"] * 2)


def rows_of(study):
    return [json.loads(line) for line in (study / "judge" / "answers.jsonl").open()]


# What a server sends, why it is none, and how often the question is asked.
NO_VERDICTS = {
    "cut in a draft": (
        {"content": f"<think>perhaps {DRAFT} or", "finish_reason": "length"},
        "cut at the longest answer: max_tokens=1024 is too small, after nothing but reasoning", 1,
    ),
    "cut, reasoning apart": (
        {"content": None, "reasoning_content": DRAFT, "finish_reason": "length"},
        "cut at the longest answer: max_tokens=1024 is too small, after nothing but reasoning", 1,
    ),
    "cut, all of it hidden": (
        {"content": "", "finish_reason": "length"},
        "cut at the longest answer: max_tokens=1024 is too small, after nothing but reasoning", 1,
    ),
    "cut after a whole object": (
        {"content": f"{DRAFT} But on second", "finish_reason": "length"},
        "cut at the longest answer: max_tokens=1024 is too small", 2,
    ),
    "filtered": (
        {"content": DRAFT, "finish_reason": "content_filter"},
        "stopped by the server's content filter", 2,
    ),
    "aborted": ({"content": DRAFT, "finish_reason": "abort"}, "the server gives abort as", 2),
    "not said": ({"content": DRAFT, "finish_reason": None}, "the server gives nothing as", 2),
    "reasoning_content only": (
        {"content": None, "reasoning_content": DRAFT},
        "nothing but reasoning, and an empty answer", 2,
    ),
    "reasoning only": (
        {"content": "", "reasoning": DRAFT}, "nothing but reasoning, and an empty answer", 2,
    ),
    "thinking parts only": (
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}]}]},
        "nothing but reasoning, and an empty answer", 2,
    ),
    "unclosed": ({"content": f"<think>perhaps {DRAFT}"}, "the reasoning has no end", 2),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "reason", "asked"), NO_VERDICTS.values(), ids=NO_VERDICTS)
def test_no_verdict_with_its_reason(study, settings, sent, reason, asked):
    with serving(answer=lambda _: dict(sent)) as server:
        entry = judge(study, settings(server))
    assert (entry.n, entry.unusable.orders) == (0, 4)
    assert {row["status"] for row in rows_of(study)} == {"unusable"}
    assert all(row["reason"].startswith(reason) for row in rows_of(study))
    # A limit that cut the reasoning once would cut it again.
    assert set(server.asked.values()) == {asked}


def test_without_a_limit_of_ours_the_cure_is_to_set_one(study, settings):
    with serving(answer=lambda _: {"content": DRAFT, "finish_reason": "length"}) as server:
        judge(study, settings(server, max_tokens=None))
    assert all(row["reason"].endswith(": set max_tokens") for row in rows_of(study))


@pytest.mark.parametrize("finish", ["stop", "eos_token", "end_turn"])
@pytest.mark.parametrize(
    "deliver",
    [
        lambda text: {"content": text, "reasoning_content": DRAFT},
        lambda text: {"content": f"<think>perhaps {DRAFT}</think>{text}"},
        lambda text: {"content": f"perhaps {DRAFT}</think>{text}"},
        lambda text: {"content": [{"type": "thinking", "thinking": []},
                                  {"type": "text", "text": text}]},
    ],
    ids=["apart", "inline", "opened by the template", "parts"],
)  # fmt: skip
def test_the_answer_after_the_reasoning_counts(study, settings, deliver, finish):
    def answer(prompt):
        return deliver(json.dumps(opinion(prompt))) | {"finish_reason": finish}

    with serving(answer=answer) as server:
        entry = judge(study, settings(server))
    assert (entry.n, entry.winner.wins) == (2, 2)


def test_a_cut_answer_without_reasoning_is_asked_for_once_more(study, settings):
    def answer(prompt):
        return json.dumps(opinion(prompt))

    with serving(answer=answer) as server:
        babble = {"content": f"Let me see {DRAFT}", "finish_reason": "length"}
        server.answer = lambda prompt: (
            dict(babble) if len(server.bodies[-1]["messages"]) == 1 else answer(prompt)
        )
        entry = judge(study, settings(server, concurrency=1))
    assert (entry.n, entry.winner.wins) == (2, 2)
    again = server.bodies[1]["messages"][2]["content"]
    assert "it was cut before its end" in again


def former_answers(study, model="scripted"):
    """The file as a version left it that took a draft for the verdict."""
    from hyperfitting.judge.pairs import find_side, read_pairs
    from hyperfitting.runs import StudyFolder

    folder = StudyFolder(study)
    sides = [find_side(folder, arm, "fixed_length") for arm in ("late_stage_lora", "full_lora")]
    rows = []
    for pair in read_pairs(folder, *sides):
        for order in ("ab", "ba"):
            asked = {"model": model, "temperature": 0.0, "max_tokens": 1024, "reasks": 1,
                     "prompt": PROMPT_DIGEST, "pair": pair.digest(), "order": order}  # fmt: skip
            key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
            rows.append(
                {
                    "key": key, "context_index": pair.context_index, "order": order,
                    "status": "usable", "verdict": verdict("A" if order == "ba" else "B"),
                    "reason": None, "raw": [], "requests": 1, "prompt_tokens": 9,
                    "answer_tokens": 1024, "model": model, "answered_by": model,
                    "date": "2026-01-01T00:00:00Z",
                }
            )  # fmt: skip
    file = study / "judge" / "answers.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_verdicts_of_an_older_version_are_not_trusted(study, settings):
    former_answers(study)
    before, told = rows_of(study), Told()
    with serving() as server:
        entry = judge(study, settings(server), progress=told)
        assert sum(server.asked.values()) == 4
        assert (entry.winner.wins, entry.winner.losses) == (2, 0)
        assert any("4 verdicts of an older version are asked for again" in x for x in told.said)
        kept = rows_of(study)[:4]
        assert all(row.pop(DIGEST) for row in rows_of(study))
        assert [{n: v for n, v in row.items() if n != DIGEST} for row in kept] == before
        assert "4 answers of an earlier version carry no digest" in told.said
        again = Told()
        judge(study, settings(server), progress=again)
        assert sum(server.asked.values()) == 4
    assert not any("er version" in text for text in again.said)
    assert entry.judge.reading_version == 2
