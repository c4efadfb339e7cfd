"""Nothing from outside is endless: templates, conversations, rows that nest, windows."""

import json
import signal
import threading
import time

import pytest

from hyperfitting.config import DataConfig
from hyperfitting.data import chat, limits, sources, windows
from hyperfitting.data.borders import end_tokens
from hyperfitting.data.limits import OverLimitError, limited
from hyperfitting.data.messages import DEEPEST
from hyperfitting.data.sources import Document, read_documents
from hyperfitting.data.windows import build_dataset
from hyperfitting.errors import InputError
from tests.data.templates import CHATML, chatml, talk

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLES = (
    "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
)


def config(**changes):
    small = {"window_tokens": 128, "context_tokens": 8, "continuation_tokens": 12}
    return DataConfig(source="test", windows="documents", num_heldout=2, **small | changes)


def conversation(n, turns=1):
    said = (talk(f"question {n} {t}?", f"answer {n} {t} and its end") for t in range(turns))
    return Document(f"chat {n}", messages=sum(said, ()))


CHATS = [conversation(n) for n in range(6)]


@pytest.fixture
def sooner(monkeypatch):
    """The real limits, reached sooner: after so many seconds, or at so many bytes more."""

    def limit(seconds=600.0, more=2**34):
        monkeypatch.setattr(limits.limited.__wrapped__, "__defaults__", (seconds, more))

    return limit


@pytest.mark.parametrize(
    ("template", "limit", "says"),
    [
        (LOOPS, {"seconds": 0.3}, "longer than 0.3 seconds"),
        (DOUBLES, {"more": 2**28}, "more than 0.25 GiB"),
    ],
)
def test_a_template_that_never_ends_is_stopped_once(template, limit, says, sooner, monkeypatch):
    sooner(**limit)
    tokenizer = chatml(template + CHATML)
    with pytest.raises(InputError, match=f"chat 0: .* template was stopped: it took {says}"):
        build_dataset(CHATS, tokenizer, config())
    monkeypatch.setattr(tokenizer, "apply_chat_template", None)
    end_tokens(tokenizer)  # probes the template, which is not run again


def test_a_template_that_writes_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("hyperfitting.data.template.MOST_CHARACTERS", 500)
    with pytest.raises(InputError, match="wrote more than 500 characters"):
        build_dataset(CHATS, chatml("{{ 'xy' * 400 }}" + CHATML), config())


def test_texts_can_be_trained_on_beside_such_a_template(sooner):
    sooner(seconds=0.3)
    texts = [Document(f"text {n}", text=f"{n} is the number of this text " * 4) for n in range(6)]
    tokenizer = chatml(LOOPS + "texts only")
    assert len(build_dataset(texts, tokenizer, config()).train) == 4


def test_a_timer_and_a_handler_that_were_there_are_there_afterwards():
    def mine(*_):
        raise AssertionError

    before = signal.signal(signal.SIGALRM, mine)
    try:
        signal.setitimer(signal.ITIMER_REAL, 50)
        with limited():
            pass
        assert signal.getsignal(signal.SIGALRM) is mine
        assert 0 < signal.setitimer(signal.ITIMER_REAL, 0)[0] <= 50
    finally:
        signal.signal(signal.SIGALRM, before)


def test_in_another_thread_there_is_no_timer_and_no_error():
    done = []

    def work():
        with limited():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


def test_a_limit_ends_what_runs_and_not_what_comes_after():
    with pytest.raises(OverLimitError), limited(0.05):
        while True:
            pass
    time.sleep(0.1)


def test_of_a_long_conversation_only_what_windows_hold_is_told():
    long = [conversation(0, turns=800), *CHATS[1:]]
    start = time.monotonic()
    found = build_dataset(long, chatml(), config(loss_on="assistant"))
    assert time.monotonic() - start < 10
    whole = build_dataset([conversation(0, turns=4), *CHATS[1:]], chatml(),
                          config(loss_on="assistant"))  # fmt: skip
    assert found.train.digest() == whole.train.digest()


def test_too_many_answers_in_one_window_are_refused(monkeypatch):
    monkeypatch.setattr(chat, "MOST_ANSWERS", 3)
    wide = {"loss_on": "assistant", "window_tokens": 1000}
    assert build_dataset([conversation(n, turns=3) for n in range(4)], chatml(), config(**wide))
    with pytest.raises(InputError, match="chat 0: .* more than 3 answers"):
        build_dataset([conversation(n, turns=4) for n in range(4)], chatml(), config(**wide))


def test_more_places_than_fit_a_machine_are_refused_before_they_are_taken():
    with pytest.raises(InputError, match="windows of 1,048,576 tokens are"):
        texts = [Document(f"t {n}", text=f"{n} and so on " * 20) for n in range(1000)]
        build_dataset(texts, chatml(), config(window_tokens=2**20))
    assert windows.MOST_PLACES < 1000 * 2**20


ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + CHATML
)


def test_a_conversation_that_opens_with_the_assistant_is_told_as_that():
    opening = {"role": "assistant", "content": "Hello, what can I do for you?"}
    docs = [
        Document(each.origin, messages=(opening, *each.messages), text=each.text) for each in CHATS
    ]
    for loss_on in ("all", "assistant"):
        with pytest.raises(InputError, match="chat 0: it opens with a message of the assistant"):
            build_dataset(docs, chatml(ALTERNATING), config(loss_on=loss_on))
    assert build_dataset(docs, chatml(), config())
    twice = [Document(each.origin, messages=each.messages + each.messages[:1] * 2)
             for each in CHATS]  # fmt: skip
    with pytest.raises(InputError, match="chat 0: the chat template refuses") as refused:
        build_dataset(twice, chatml(ALTERNATING), config())
    assert "opens with" not in str(refused.value)


# Rows


def read_row(tmp_path, row):
    (tmp_path / "a.jsonl").write_text(row + "\n")
    return read_documents(DataConfig(source=str(tmp_path / "a.jsonl")))


def nested(depth):
    return "[" * depth + "]" * depth


DEEP = [
    (f'{{"text": {nested(100_000)}}}', "a.jsonl line 1 is not JSON"),
    ("[" * 100_000, "a.jsonl line 1 is not JSON"),
    (f'{{"messages": [{{"role": "user", "content": "a", "x": {nested(DEEPEST)}}}]}}',
     f"a.jsonl row 1: column 'messages' nests deeper than {DEEPEST} levels"),
    (f'{{"messages": {nested(900)}}}', "nests deeper"),
    (f'{{"messages": [{{"role": "user", "content": "a"}}], "tools": {nested(900)}}}',
     "column 'tools' nests deeper"),
    (json.dumps({"messages": nested(100_000)}), "column 'messages' holds text that is no JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "says"), DEEP, ids=range(len(DEEP)))
def test_a_row_that_nests_without_end_is_refused_with_its_place(row, says, tmp_path):
    with pytest.raises(InputError, match=says):
        read_row(tmp_path, row)


def test_what_is_deep_in_a_column_that_is_not_read_does_no_harm(tmp_path):
    (found,) = read_row(tmp_path, f'{{"text": "a", "other": {nested(200)}}}')
    assert found.text == "a"


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"role": "user", "content": {"a": 1}}, "message 1 holds dict as its content"),
        ({"role": "user", "content": 5}, "message 1 holds int as its content"),
        ({"role": "user", "content": True}, "message 1 holds bool as its content"),
        ({"role": "user", "content": [5]}, "message 1 holds a part of the kind 'int'"),
        ({"role": "user", "content": [{"type": "image"}]}, "a part of the kind 'image'"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "a part of the kind 'text'"),
        ({"role": None, "content": "a"}, "not of chat messages"),
        ({"role": 5, "content": "a"}, "not of chat messages"),
    ],
)
def test_content_that_is_no_text_never_becomes_text(message, says, tmp_path):
    with pytest.raises(InputError, match=f"a.jsonl row 1: column 'messages'.* {says}"):
        read_row(tmp_path, json.dumps({"messages": [message]}))


def test_a_folder_that_is_a_whole_disk_is_refused(tmp_path, monkeypatch):
    for n in range(4):
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "a.txt").write_text(str(n))
    assert len(read_documents(DataConfig(source=str(tmp_path)))) == 4
    monkeypatch.setattr(sources, "MOST_ENTRIES", 7)
    with pytest.raises(InputError, match="holds more than 7 files and folders"):
        read_documents(DataConfig(source=str(tmp_path)))
