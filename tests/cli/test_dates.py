"""Chat templates that write today's date: resumed, compared and explained on another day."""

import json
from datetime import date

import pytest

from hyperfitting.data import documents
from hyperfitting.data.store import load_dataset
from hyperfitting.runs import RunFolder
from tests.cli.test_cli import hyperfit
from tests.data.templates import DATED
from tests.sealing import rewrite
from tests.tiny import byte_tokenizer, save_tiny

SETTINGS = [
    "data.windows=documents", "data.window_tokens=96", "data.context_tokens=8",
    "data.continuation_tokens=8", "data.num_heldout=3", "train.epochs=2", "train.stop=epochs",
    "train.batch_size=4", "train.learning_rate=1e-2", "monitor.every_epochs=0",
    "train.checkpoint_steps=1", "train.lora.rank=2", "train.lora.alpha=4",
]  # fmt: skip
QUICK = ["natural_tokens=0", "sampling_seeds=0", "resamples=100"]
FIRST, SECOND = date(2026, 1, 10), date(2026, 1, 11)


@pytest.fixture
def model(tmp_path):
    return save_tiny(tmp_path / "model", chat=DATED)


@pytest.fixture
def chats(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": f"say {n}"},
                      {"role": "assistant", "content": f"{n} and {n * n} are said"}]}
        for n in range(10)
    ]  # fmt: skip
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def it_is(monkeypatch):
    def set_day(day):
        class Today(date):
            @classmethod
            def today(cls):
                return day

        monkeypatch.setattr(documents, "date", Today)

    return set_day


def train(model, chats, out, *more, code=0):
    result = hyperfit(
        "train", model, "--data", chats, "--method", "full_lora", "--out", out, *SETTINGS, *more
    )
    assert result.exit_code == code, result.output
    return result


def first_text(run):
    windows = load_dataset(RunFolder(run).windows_file).train
    return byte_tokenizer().decode(windows.ids_NT[0][: windows.length_N[0]])


def as_interrupted(run):
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["status"] = "training"
    rewrite(path, lambda _: manifest)


def test_a_run_goes_on_the_next_day_as_it_began(model, chats, tmp_path, it_is):
    run = tmp_path / "run"
    it_is(FIRST)
    train(model, chats, run)
    before = first_text(run)
    assert "Today: 10 Jan 2026" in before
    as_interrupted(run)
    it_is(SECOND)
    result = hyperfit("train", "--resume", "--out", run)
    assert result.exit_code == 0, result.output
    assert "resumed after step" in result.output
    assert first_text(run) == before
    manifest = RunFolder(run).manifest()
    assert manifest.template_date == "2026-01-10"
    assert manifest.config["data"]["template_date"] is None


def test_runs_of_two_days_say_which_setting_makes_them_comparable(model, chats, tmp_path, it_is):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    it_is(FIRST)
    train(model, chats, one)
    it_is(SECOND)
    train(model, chats, two, "train.seed=1")
    result = hyperfit("evaluate", one, two, "--out", tmp_path / "cmp", *QUICK)
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "2026-01-10 in" in said
    assert "2026-01-11 in" in said
    setting = "data.template_date=2026-01-10"
    assert setting in said
    train(model, chats, three, setting, "train.seed=1")
    assert first_text(three) == first_text(one)
    result = hyperfit("evaluate", one, three, "--out", tmp_path / "cmp", *QUICK)
    assert result.exit_code == 0, result.output
    study = json.loads((tmp_path / "cmp" / "study.json").read_text())
    assert study["data"]["template_date"] == "2026-01-10"
    assert study["ends"][0]["token"] == "<|end|>"


def test_other_texts_are_read_on_the_day_of_the_run(model, chats, tmp_path, it_is):
    other = tmp_path / "other.jsonl"
    other.write_text(chats.read_text().replace("say", "tell").replace("said", "told"))
    it_is(FIRST)
    train(model, chats, tmp_path / "run")
    digests = set()
    for day in (FIRST, SECOND):
        it_is(day)
        out = tmp_path / f"study-{day}"
        result = hyperfit(
            "evaluate", tmp_path / "run", "--data", other, "--text-field", "messages",
            "--out", out, *QUICK,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        digests.add(json.loads((out / "study.json").read_text())["data"]["contexts_digest"])
    assert len(digests) == 1


def test_what_is_no_day_is_refused(model, chats, tmp_path):
    result = train(model, chats, tmp_path / "run", "data.template_date=tomorrow", code=2)
    assert "data.template_date" in result.output
