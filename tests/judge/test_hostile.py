"""A judge's server that means harm: slow, endless, packed, nested, sending on, echoing keys."""

import gzip
import json
import time

import pytest

from hyperfitting.errors import InputError
from hyperfitting.judge import transport
from hyperfitting.judge.secrets import Secrets, in_path, without_path
from hyperfitting.judge.verb import judge
from tests.judge.serving import Handler, make_study, serving


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study", ["alpha"])


def behave(server, respond):
    """Makes `respond` the answer to every question."""
    own = {"do_POST": lambda self: (self.rfile.read(int(self.headers["Content-Length"])),
                                    respond(self))}  # fmt: skip
    server.RequestHandlerClass = type("Hostile", (Handler,), own)


def drip_body(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    drip(handler)


def drip_headers(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    drip(handler)


def drip(handler):
    for _ in range(200):  # ten seconds
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


@pytest.mark.parametrize("respond", [drip_body, drip_headers])
def test_a_server_that_drips_is_late(study, settings, respond):
    start = time.monotonic()
    with serving() as server:
        behave(server, respond)
        server.daemon_threads, server.block_on_close = True, False
        config = settings(server, timeout_seconds=0.4, retries=0, concurrency=1, orders="single")
        assert judge(study, config).n == 0
    assert time.monotonic() - start < 5
    assert "no answer within 0.4 s" in (study / "judge" / "answers.jsonl").read_text()


def test_an_endless_answer_is_not_read_whole(study, settings, monkeypatch):
    monkeypatch.setattr(transport, "LARGEST_ANSWER", 10_000)
    sent = []

    def flood(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(2**40))
        handler.end_headers()
        for _ in range(2000):
            handler.wfile.write(b" " * 100_000)
            sent.append(1)

    with serving() as server:
        behave(server, flood)
        judge(study, settings(server, retries=0))
    assert "larger than 10,000 bytes" in (study / "judge" / "answers.jsonl").read_text()
    assert len(sent) < 1000  # what lay in buffers


def test_a_packed_answer_is_not_unpacked(study, settings):
    packed = gzip.compress(b" " * 10_000_000)

    def pack(handler):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)

    with serving() as server:
        behave(server, pack)
        judge(study, settings(server, retries=0))
    assert "the server packs its answers" in (study / "judge" / "answers.jsonl").read_text()


@pytest.mark.parametrize("status", [302, 307, 308])
def test_texts_and_key_are_sent_to_no_other_server(study, settings, status):
    with serving() as other, serving() as server:
        place = f"{other.url}/chat/completions"
        behave(server, lambda handler: handler.reply(status, {}, [("Location", place)]))
        with pytest.raises(InputError, match=f"sends us on to {other.url}.* .status {status}"):
            judge(study, settings(server))
        assert not other.bodies


@pytest.mark.parametrize("body", ["[" * 100_000, '{"choices": ' + "[" * 100_000])
def test_a_nested_answer_is_one_error(study, settings, body):
    with serving() as server:
        server.page = body
        assert judge(study, settings(server, concurrency=1)).n == 0
    assert "no chat completion" in (study / "judge" / "answers.jsonl").read_text()


def echo(text):
    content = {"winner": "A", "reasoning": text}  # no scores: the text is kept
    return lambda _: json.dumps(content)


@pytest.mark.parametrize("key", ["s3cr", "abc123x", "sk-long-0123456789"])
def test_a_key_of_any_length_is_not_stored(study, settings, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with serving(key=key, answer=echo(f"the key is {key}, and {key}!")) as server:
        judge(study, settings(server))
    for file in (study / "judge").glob("*.json*"):
        assert key not in file.read_text()
    assert "the key is [key], and [key]!" in (study / "judge" / "answers.jsonl").read_text()


def test_a_key_that_is_too_short_to_be_hidden_is_refused_and_a_placeholder_is_none(
    study, settings, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "tie")
    with serving() as server, pytest.raises(InputError, match="fewer than 4 characters") as error:
        judge(study, settings(server))
    assert "tie" not in str(error.value)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with serving(key="none", answer=echo("none of both")) as server:
        judge(study, settings(server))
    assert "none of both" in (study / "judge" / "answers.jsonl").read_text()


def test_a_key_in_the_path_is_not_stored(study, settings):
    key = "proxy-key-0123456789"
    with serving(answer=echo(f"you asked /{key}/v1")) as server:
        url = server.url.replace("/v1", f"/{key}/v1")
        judge(study, settings(endpoint=url))
    files = list((study / "judge").glob("*.json*"))
    assert len(files) == 2
    for file in files:
        assert key not in file.read_text()
    assert json.loads((study / "judge" / "results.json").read_text())["comparisons"][0]["judge"][
        "endpoint"
    ] == server.url.removesuffix("/v1")


def test_what_counts_as_a_secret():
    assert in_path("https://h/api/v1/openai/deployments/abcdefg1") == ["abcdefg1"]
    assert without_path("https://h:8/key/v1") == "https://h:8"
    hide = Secrets("a.cd", "https://h/v1").hide
    assert hide("a.cd xa.cd a.cde (a.cd) abcd") == "[key] xa.cd a.cde ([key]) abcd"
    assert Secrets(None, "https://h/v1").hide("any") == "any"
