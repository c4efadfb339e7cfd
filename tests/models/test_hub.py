"""What is no folder here and not to be had from the hub is refused at once, in one sentence.

The hub is a small server, a closed port, or forbidden; each answer is one that the real one gives.
"""

import json
import shutil
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, utils

from hyperfitting.config import DataConfig, ModelConfig
from hyperfitting.data.hub import is_hub_id, near_path
from hyperfitting.data.sources import read_documents
from hyperfitting.errors import InputError
from hyperfitting.generate.verb import open_model
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.models.located import locate
from tests.cli.test_cli import hyperfit
from tests.models.test_load import adapter
from tests.tiny import save_tiny, tiny_model

COMMIT = "a" * 40
SECONDS = 5  # with huggingface_hub's own asking again it is twenty and more
REFUSALS = {  # of a repository: status, and the code that the hub puts beside it
    "missing": (401, "RepoNotFound"),
    "gated": (403, "GatedRepo"),
    "ill": (503, None),
}


class Hub(ThreadingHTTPServer):
    """Repositories by name; `asked` are the paths that were asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folders, self.asked, self.slow = {}, [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(BrokenPipeError):  # of who did not wait
                self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0].strip("/")
        self.server.asked.append(path)
        words = [word for word in path.split("/") if word not in ("api", "models", "datasets")]
        ends = [words.index(word) for word in ("resolve", "revision", "tree") if word in words]
        repo, rest = "/".join(words[: min(ends, default=None)]), words[min(ends, default=9) :]
        kind = repo.rpartition("/")[2]
        if kind == "slow":
            self.server.slow.wait(20)
        if kind in REFUSALS and (kind != "gated" or "resolve" in rest):
            status, code = REFUSALS[kind]
            return self.answer(status, **({"X_Error_Code": code} if code else {}))
        if "nowhere" in rest:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        folder = self.server.folders.get(repo)
        files = {f.name: f for f in folder.iterdir()} if folder else {"config.json": None}
        if "tree" in rest:
            return self.answer(200, b"[]")
        if "resolve" not in rest:
            about = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
            return self.answer(200, json.dumps(about).encode())
        if rest[-1] not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        return self.answer(
            200, files[rest[-1]].read_bytes(), ETag=f'"{rest[-1]}"', X_Repo_Commit=COMMIT
        )

    do_HEAD = do_GET


def point_to(monkeypatch, url):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)  # is kept


@pytest.fixture
def hub(monkeypatch, hub_cache):
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    point_to(monkeypatch, server.url)
    yield server
    server.slow.set()
    server.shutdown()
    thread.join()
    server.server_close()
    utils.close_session()


@pytest.fixture
def no_hub(monkeypatch, hub_cache):
    """Nothing listens there."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    point_to(monkeypatch, f"http://127.0.0.1:{port}")


def refused(work, caplog=None):
    """The lines of a refusal, which came soon and with nothing printed beside it."""
    begun = time.monotonic()
    with pytest.raises(InputError) as found:
        work()
    assert time.monotonic() - begun < SECONDS
    lines = str(found.value).splitlines()
    assert lines[1].startswith("needed: ")
    if caplog:
        assert not [record for record in caplog.records if record.levelname != "DEBUG"]
    return lines


def model(name, **options):
    return lambda: locate(ModelConfig(name=name, **options))


def texts(name):
    return lambda: read_documents(DataConfig(source=name))


@pytest.mark.parametrize(
    "name",
    ["./my-modle", "../my-modle", "/my-modle", "~/my-modle", "a/b/my-modle", "my-modle/",
     "-my", "my--modle", "my-modle.git", "my modle", "x" * 97, "lab/"],
)  # fmt: skip
def test_what_can_be_no_hub_id_is_never_asked_for(name, hub):
    assert not is_hub_id(name)
    assert refused(model(name))[0] == f"the model folder {name} does not exist"
    assert refused(texts(name))[0] == f"{name} does not exist"
    assert not hub.asked


@pytest.mark.parametrize("name", ["gpt2", "lab/model", "lab/Model-2.5_x"])
def test_what_can_be_a_hub_id(name):
    assert is_hub_id(name)


@pytest.mark.parametrize("written", ["{}", "./{}", "{}/", "here/../{}", "here/{}"])
def test_a_mistyped_folder_is_told_the_nearest(written, tmp_path, monkeypatch, hub_cache):
    monkeypatch.chdir(tmp_path)
    for folder in ("my-model", "here/my-model", "texts"):
        Path(folder).mkdir(parents=True)
    Path("my-modl.jsonl").touch()  # no folder
    expected = written.format("my-model").rstrip("/")
    hint = refused(model(written.format("my-modle")))[-1]
    assert hint == f"hint: did you mean {expected!r}?"


def test_the_nearest_may_be_a_file_or_a_name_of_ours(tmp_path, monkeypatch, hub_cache):
    monkeypatch.chdir(tmp_path)
    Path("stories.jsonl").touch()
    assert refused(model("bultin"))[-1] == "hint: did you mean 'builtin'?"
    assert refused(texts("storys.jsonl"))[-1] == "hint: did you mean 'stories.jsonl'?"
    assert refused(texts("./storys.jsnl"))[-1] == "hint: did you mean './stories.jsonl'?"
    assert refused(texts("ag_newz"))[-1] == "hint: did you mean 'ag_news'?"
    assert len(refused(model("quite/another"))) == 2  # nothing is near


ANSWERS = [
    ("missing", "the hub has no such {}, or keeps it private"),
    ("ill", "the hub answers with status 503"),
]


@pytest.mark.parametrize(("name", "reason"), ANSWERS)
def test_the_hub_says_no(name, reason, hub, caplog):
    first = refused(model(f"lab/{name}"), caplog)[0]
    assert first == (
        f"the model 'lab/{name}' cannot be loaded, and there is no such folder here: "
        + reason.format("model")
    )
    first = refused(texts(f"lab/{name}"))[0]
    assert first == (
        f"'lab/{name}' is no local file or folder, and the hub did not deliver it: "
        + reason.format("dataset")
    )


def test_a_gated_model_and_a_revision_that_is_not_there(hub, caplog):
    assert "its owner has to let you in" in refused(model("lab/gated"), caplog)[0]
    lines = refused(model("lab/base", revision="nowhere"), caplog)
    assert "on the hub it has no revision 'nowhere'" in lines[0]


def test_a_repository_of_something_else(hub, tmp_path):
    (tmp_path / "README.md").touch()
    hub.folders["lab/notes"] = tmp_path
    assert refused(model("lab/notes"))[0].endswith(
        "on the hub it has neither config.json nor adapter_config.json"
    )


def test_a_hub_that_does_not_answer_is_not_waited_for(hub, monkeypatch, caplog):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    for work in (model("lab/slow"), texts("lab/slow")):
        assert "the hub does not answer within 0.3 seconds" in refused(work, caplog)[0]


def test_nobody_listens(no_hub, caplog):
    for work in (model("lab/model"), model("my-modle"), texts("lab/texts")):
        assert "the hub cannot be reached (" in refused(work, caplog)[0]


def test_offline_nothing_is_asked(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for work in (model("lab/model"), texts("lab/texts")):
        assert "HF_HUB_OFFLINE keeps the hub from being asked" in refused(work)[0]
    assert not hub.asked


def test_a_model_comes_from_the_hub_and_then_from_the_cache(hub, tmp_path, monkeypatch, caplog):
    folder = save_tiny(tmp_path / "tiny")
    hub.folders["lab/real"] = folder
    config = ModelConfig(name="lab/real", device="cpu")
    expected = tiny_model().state_dict()

    def found():
        tokenizer, loaded = load_tokenizer(config), load_model(config).state_dict()
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)
        return tokenizer("abc")["input_ids"]

    assert locate(config).commit == COMMIT
    assert not locate(config).is_cached
    ids = found()
    shutil.rmtree(folder)
    hub.folders.clear()
    point_to(monkeypatch, "http://127.0.0.1:9")
    begun = time.monotonic()
    assert locate(config).is_cached
    assert found() == ids
    assert time.monotonic() - begun < 2 * SECONDS
    assert not [record.message for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("base", ["lab/missing", "missing", "{}/gone"])
def test_an_adapter_whose_base_is_not_there(base, hub, tmp_path, caplog):
    name = base.format(tmp_path)
    adapter(tmp_path / "adapter", tiny_model())
    file = tmp_path / "adapter" / "adapter_config.json"
    settings = json.loads(file.read_text()) | {"base_model_name_or_path": name}
    file.write_text(json.dumps(settings))
    lines = refused(lambda: open_model(ModelConfig(name=str(tmp_path / "adapter"))))
    assert lines[0].startswith(
        f"the adapter in {tmp_path / 'adapter'} names a base that is not there: the model"
    )
    assert name in lines[0]
    assert lines[1] == "needed: the base model it was trained on"


def test_the_command_ends_with_one_message(no_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    result = hyperfit("generate", "my-modle", "--prompt", "a")
    assert result.exit_code == 2
    assert result.output.startswith("error: the model 'my-modle' cannot be loaded")
    assert "hint: did you mean 'my-model'?" in result.output
    assert "Retrying" not in result.output


def test_beside_a_folder_that_may_not_be_read_there_is_no_hint(tmp_path, monkeypatch):
    def unreadable(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", unreadable)
    assert near_path(str(tmp_path / "storys.jsonl")) is None
    assert near_path(str(tmp_path / "bultin"), ["builtin"]) == "did you mean 'builtin'?"
    with pytest.raises(InputError, match="does not exist"):
        read_documents(DataConfig(source=str(tmp_path / "storys.jsonl")))


def test_a_path_that_may_not_be_used_is_one_message(tmp_path, monkeypatch):
    place = tmp_path / "closed" / "run"

    def closed(*_args, **_options):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("hyperfitting.verbs.evaluate", closed, raising=False)
    result = hyperfit("evaluate", place)
    assert result.exit_code == 2
    assert f"error: you have no permission for {place}" in result.stderr
    assert "Traceback" not in result.output
