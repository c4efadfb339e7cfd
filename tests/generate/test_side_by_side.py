"""Two models side by side: their own greedy texts, with ranks that a naive loop finds again."""

import io
import json

import pytest
import torch
from rich.console import Console

from hyperfitting import verbs
from hyperfitting.cli.compare import _coloured, _table
from hyperfitting.config import GenerateConfig, ModelConfig
from hyperfitting.config.compare import CompareConfig
from hyperfitting.errors import InputError
from hyperfitting.generate import side_by_side
from hyperfitting.measure.text import loop_start, type_token_ratio
from hyperfitting.models.load import load_model
from tests.cli.test_cli import hyperfit, train
from tests.tiny import save_tiny, tiny_model

PROMPTS = ["abc def", "the old bridge"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    one = save_tiny(tmp_path_factory.mktemp("one"))
    other = save_tiny(tmp_path_factory.mktemp("other"))
    tiny_model(seed=5).save_pretrained(other)
    return one, other


def compared(models, **settings):
    a, b = map(str, models)
    return verbs.compare(PROMPTS, CompareConfig(a=a, b=b, max_new_tokens=8, **settings))


def test_each_side_writes_what_it_writes_alone(models):
    found = compared(models)
    for name, model in zip("ab", models, strict=True):
        config = GenerateConfig(model=ModelConfig(name=str(model)), max_new_tokens=8)
        alone = verbs.generate(PROMPTS, config)
        assert [[p["id"] for p in each[name]["pieces"]] for each in found] == [
            each["token_ids"] for each in alone
        ]
        assert [each[name]["text"] for each in found] == [e["continuation"] for e in alone]


def test_a_token_that_the_other_model_has_not_has_no_rank_nor_what_follows_it(
    models, tmp_path, monkeypatch
):
    """As where one model was resized for tokens that the tokenizer of both has."""
    small = save_tiny(tmp_path / "small")
    tiny_model(vocab_size=257, seed=5).save_pretrained(small)
    plain = compared((models[0], small))
    assert all(piece["rank"] for each in plain for piece in each["a"]["pieces"])
    monkeypatch.setattr(side_by_side, "embedding_rows", lambda model: 100)
    for each in compared((models[0], small)):
        ids = [piece["id"] for piece in each["a"]["pieces"]]
        known = next((n for n, i in enumerate(ids) if i >= 100), len(ids))
        ranks = [piece["rank"] for piece in each["a"]["pieces"]]
        full = [piece["rank"] for each_ in plain if each_["prompt"] == each["prompt"]
                for piece in each_["a"]["pieces"]]  # fmt: skip
        assert ranks == full[:known] + [None] * (len(ids) - known)
        assert known < len(ids), "a text that leads beyond what the other has"


def test_ranks_are_those_of_a_naive_loop(models):
    from tests.conftest import byte_tokenizer  # the prompts' own tokens

    one, other = (load_model(ModelConfig(name=str(folder))) for folder in models)
    tokenizer = byte_tokenizer()
    for each in compared(models):
        for side, against in (("a", other), ("b", one)):
            ids = tokenizer(each["prompt"])["input_ids"]
            for piece in each[side]["pieces"]:
                with torch.no_grad():
                    logits = against(torch.tensor([ids])).logits[0, -1]
                allowed = logits[:257]  # the tokens that the tokenizer has
                assert piece["rank"] == 1 + int((allowed > logits[piece["id"]]).sum())
                ids = [*ids, piece["id"]]
            assert {piece["rank"] for piece in each[side]["pieces"]} != {1}


def test_each_text_has_its_own_numbers(models):
    for each in compared(models):
        for side in (each["a"], each["b"]):
            ids = [piece["id"] for piece in side["pieces"]]
            assert "".join(piece["text"] for piece in side["pieces"]) == side["text"]
            assert side["ttr"] == len(set(ids)) / len(ids)


def test_a_loop_is_named_with_the_token_it_begins_at():
    def text(ids):
        pieces = [{"id": i, "text": f"{i} ", "rank": 1} for i in ids]
        return {
            "model": "m", "text": "", "pieces": pieces, "ended": False,
            "ttr": type_token_ratio(ids), "loop_start": loop_start(ids),
        }  # fmt: skip

    found = {"prompt": "p", "a": text([1, 2, *[7, 8] * 30]), "b": text([])}
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(_coloured(found))
    shown = console.export_text()
    assert "62 tokens, TTR 0.06, loops from token 3" in shown
    assert "no tokens" in shown


def test_a_model_beside_itself_ranks_everything_first(models):
    found = compared((models[0], models[0]))
    assert {piece["rank"] for each in found for piece in each["b"]["pieces"]} == {1}


def test_a_run_stands_beside_its_original(models, texts_file, tmp_path):
    run = tmp_path / "run"
    assert train(models[0], texts_file, run, "train.learning_rate=0.1").exit_code == 0
    [found] = verbs.compare(["abc"], CompareConfig(a=str(run), max_new_tokens=6))
    assert found["a"]["model"] == str(models[0])
    assert found["b"]["model"] == str(run)
    assert found["a"]["text"] != found["b"]["text"]
    none = CompareConfig(a=str(run), max_new_tokens=6, strength=0.0)
    [found] = verbs.compare(["abc"], none)
    assert found["a"]["text"] == found["b"]["text"], "at strength 0 it is the original"
    [text] = verbs.generate(
        ["abc"],
        GenerateConfig(model=ModelConfig(name=str(run)), strength=0.0, max_new_tokens=6),
    )
    assert text["continuation"] == found["a"]["text"]


def test_other_vocabularies_are_not_ranked(models, tmp_path):
    other = save_tiny(tmp_path / "other", unnamed=["<stop>"])
    found = compared((models[0], other))
    assert {piece["rank"] for each in found for piece in each["b"]["pieces"]} == {None}


def test_a_watch_hears_every_token_and_then_the_ranks(models):
    heard = []

    class Watch:
        def begins(self, prompt, models):
            heard.append(("begins", prompt))

        def writes(self, side, text):
            heard.append((side, text))

        def has(self, found):
            heard.append(("has", found))

    a, b = map(str, models)
    found = verbs.compare(PROMPTS, CompareConfig(a=a, b=b, max_new_tokens=4), None, Watch())
    assert [each[1] for each in heard if each[0] == "begins"] == PROMPTS
    assert [each[1] for each in heard if each[0] == "has"] == found
    last = [each for each in heard if each[0] == 0][3]
    assert last == (0, found[0]["a"]["text"])
    together = verbs.compare(PROMPTS, CompareConfig(a=a, b=b, max_new_tokens=4))
    assert found == together, "watched or not"


@pytest.mark.parametrize("wrong", ["", "a" * 125])
def test_a_prompt_that_does_not_fit_is_refused_before_one_is_gone_on_with(models, wrong):
    class Watch:
        def begins(self, prompt, models):
            raise AssertionError(f"{prompt} was begun")

    a, b = map(str, models)
    config = CompareConfig(a=a, b=b, max_new_tokens=8)
    with pytest.raises(InputError, match="has no tokens|128"):
        verbs.compare(["abc", wrong], config, None, Watch())
    with pytest.raises(InputError, match="has no tokens|128"):
        verbs.generate(["abc", wrong], GenerateConfig(model=ModelConfig(name=a), max_new_tokens=8))


@pytest.mark.parametrize("fault", [KeyboardInterrupt, InputError("x", needed="y")])
def test_a_terminal_is_given_back_however_it_ends(models, monkeypatch, fault):
    def stop(prompts, config, progress, watch):
        watch.begins("p", ("a", "b"))
        raise fault

    out = io.StringIO()
    monkeypatch.setattr(verbs, "compare", stop)
    monkeypatch.setattr(
        "hyperfitting.terminal.Terminal", lambda: Console(file=out, force_terminal=True)
    )
    hyperfit("compare", *models, "--prompt", "abc")
    shown = out.getvalue()
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is back"


def test_where_texts_go_is_tried_before_they_are_written(models, tmp_path, monkeypatch):
    monkeypatch.setattr(verbs, "compare", None)
    (tmp_path / "file").write_text("")
    result = hyperfit("compare", *models, "--prompt", "a", "--out", tmp_path / "file" / "texts")
    assert result.exit_code == 2, result.output


@pytest.mark.parametrize("kind", ["the prompts", "a file", "a folder", "a link to nothing"])
def test_what_is_there_already_is_not_written_over(kind, models, tmp_path, monkeypatch):
    monkeypatch.setattr(verbs, "compare", None)
    prompts, out = tmp_path / "prompts.txt", tmp_path / "out"
    prompts.write_text("abc")
    if kind == "the prompts":
        out = prompts
    elif kind == "a file":
        out.write_text("mine")
    elif kind == "a folder":
        out.mkdir()
    else:
        out.symlink_to("nothing")
    before = {path: path.is_file() and path.read_text() for path in tmp_path.iterdir()}
    result = hyperfit("compare", *models, "--prompts", prompts, "--out", out)
    assert result.exit_code == 2
    assert "is there already" in " ".join(result.output.split())
    assert {p: p.is_file() and p.read_text() for p in tmp_path.iterdir()} == before


def test_models_of_one_name_are_told_apart():
    shown = io.StringIO()
    for names in (("one/model", "two/model"), (".", "two/model"), ("one/a", "two/b")):
        Console(file=shown, width=80).print(_table("abc", names, ["x", "y"]))
    said = shown.getvalue()
    assert said.count("one/model") == 1
    assert said.count("two/model") == 2
    assert "one/a" not in said


def test_one_model_alone_has_nothing_to_stand_beside(models):
    with pytest.raises(InputError, match="names no original"):
        verbs.compare(["abc"], CompareConfig(a=str(models[0])))
    config = GenerateConfig(model=ModelConfig(name=str(models[0])), strength=0.5)
    with pytest.raises(InputError, match="names no original"):
        verbs.generate(["abc"], config)


def test_the_command_writes_a_line_for_each_prompt(models, tmp_path):
    out = tmp_path / "texts.jsonl"
    prompts = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    result = hyperfit("compare", *models, *prompts, "--out", out, "max_new_tokens=3")
    assert result.exit_code == 0, result.output
    assert f"{out}  2 prompts" in result.stdout.replace("\n", "")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["prompt"] for row in rows] == PROMPTS
    shown = hyperfit("compare", *models, *prompts, "max_new_tokens=3").output
    assert "rank in the other model" in " ".join(shown.split())
    assert hyperfit("compare", *models, "more", *prompts).exit_code == 2
