"""An export is sent to a hub: a local stand-in answers as the hub does and keeps what it gets."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from hyperfitting.errors import InputError
from tests.cli.test_cli import train
from tests.export.test_export import export
from tests.tiny import save_tiny

TOKEN = "hf_of_a_test"


class Hub(BaseHTTPRequestHandler):
    """The calls of `create_repo` and `upload_folder`, small files sent along with the commit."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer({"name": "me", "type": "user"}, self.server.status)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kept = self.server.kept
        kept["tokens"].add(self.headers.get("Authorization"))
        if self.server.status != 200:
            self.answer({"error": "no"}, self.server.status)
        elif self.path == "/api/repos/create":
            kept["created"] = json.loads(body)
            self.answer({"url": f"{constants.ENDPOINT}/me/model", "name": "me/model"})
        elif self.path.endswith("/api/validate-yaml"):
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            rows = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self.answer({"files": rows})
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.decode().splitlines()]
            kept["files"] = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            commit = {"commitUrl": f"{constants.ENDPOINT}/me/model/commit/1", "commitOid": "1" * 40}
            self.answer({"success": True, **commit})
        else:
            self.answer({"error": self.path}, 404)

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.kept, server.status = {"tokens": set()}, 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def run(tmp_path_factory, texts_file):
    base = save_tiny(tmp_path_factory.mktemp("base"))
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(base, texts_file, out).exit_code == 0
    return out


def is_private(hub):
    """As versions of huggingface_hub say it."""
    asked = hub.kept["created"]
    return asked.get("private", asked.get("visibility") == "private")


SENT = {"format": "adapter", "license": "mit", "base": "org/base",
        "push_to_hub": "me/model"}  # fmt: skip


def test_every_file_arrives_as_it_was_written(run, hub, tmp_path):
    folder, about = export(run, tmp_path / "out", **SENT)
    assert is_private(hub)
    assert hub.kept["tokens"] == {f"Bearer {TOKEN}"}
    sent = {
        name: hashlib.sha256(content).hexdigest() for name, content in hub.kept["files"].items()
    }
    assert about.files.items() <= sent.items()
    assert sent.keys() - about.files.keys() == {"export.json"}
    assert hub.kept["files"]["export.json"] == folder.record_file.read_bytes()


def test_nothing_that_is_sent_names_a_folder_of_this_machine(run, hub, tmp_path):
    export(run, tmp_path / "out", **SENT)
    told = [name for name, content in hub.kept["files"].items()
            if str(run.parent.parent).encode() in content]  # fmt: skip
    assert told == []


def test_a_public_repository_is_asked_for(run, hub, tmp_path):
    export(run, tmp_path / "out", **SENT, private=False)
    assert not is_private(hub)


def test_a_hub_that_refuses_leaves_the_export_whole(run, hub, tmp_path):
    hub.status = 403
    with pytest.raises(InputError, match="did not take the export: .*403") as told:
        export(run, tmp_path / "out", **SENT)
    assert (tmp_path / "out" / "export.json").exists()
    assert f"hf upload me/model {tmp_path / 'out'}" in str(told.value)


def test_only_what_is_verified_is_sent(run, hub, tmp_path, monkeypatch):
    refused = ["loops are back"]
    monkeypatch.setattr("hyperfitting.export.verify.reasons_against", lambda *_: refused)
    with pytest.raises(InputError, match="not verified, and is not sent: loops are back"):
        export(run, tmp_path / "out", **SENT)
    assert hub.kept.keys() == {"tokens"}
    assert (tmp_path / "out" / "export.json").exists()
    with pytest.raises(InputError, match="still to be made"):
        export(run, tmp_path / "gguf", **SENT | {"format": "gguf"})
    with pytest.raises(InputError, match="base=org/name"):
        export(run, tmp_path / "here", **{k: v for k, v in SENT.items() if k != "base"})


def test_a_hub_that_is_not_there(run, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(InputError, match="cannot be reached"):
        export(run, tmp_path / "out", **SENT)
