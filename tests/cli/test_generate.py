"""`generate`: prompts in, texts out, with any decoder and any kind of checkpoint."""

import json

import pytest
import torch

from hyperfitting.config import ModelConfig
from hyperfitting.generate import verb
from hyperfitting.generate.decode import decode
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.records.record import write_file
from hyperfitting.runs import RunFolder
from tests.cli.test_cli import hyperfit, train
from tests.tiny import save_tiny


def texts(*arguments):
    result = hyperfit("generate", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["texts"]


@pytest.mark.parametrize("setting", ["model.revision=none", "model.quantization=nf4"])
def test_a_run_knows_its_base(model_folder, texts_file, tmp_path, setting):
    run = tmp_path / "run"
    assert train(model_folder, texts_file, run).exit_code == 0
    result = hyperfit("generate", run, "--prompt", "abc", setting)
    assert result.exit_code == 2
    assert "a run knows its base" in result.output


@pytest.mark.parametrize("setting", [(), ("model.quantization=nf4",)])
def test_a_run_of_a_quantised_base_opens_without_being_told_so(
    model_folder, texts_file, tmp_path, setting, monkeypatch
):
    run = tmp_path / "run"
    assert train(model_folder, texts_file, run).exit_code == 0
    manifest = RunFolder(run).whole()
    model = manifest.config["model"] | {"quantization": "nf4"}  # which needs a GPU to be loaded
    changed = manifest.model_copy(update={"config": manifest.config | {"model": model}})
    write_file(RunFolder(run).manifest_file, changed)
    asked = []

    def load(run, base, **_):
        asked.append(base.quantization)
        return load_model(base.model_copy(update={"quantization": "none"}))

    monkeypatch.setattr(verb, "load_result", load)
    assert len(texts(run, "--prompt", "abc", "max_new_tokens=4", *setting)) == 1
    assert asked == ["nf4"]
    refused = hyperfit("generate", run, "--prompt", "abc", "model.quantization=int8")
    assert (refused.exit_code, asked) == (2, ["nf4"])


def test_greedy_is_the_decoder_of_the_studies(model_folder):
    [text] = texts(model_folder, "--prompt", "abc def", "max_new_tokens=12")
    config = ModelConfig(name=str(model_folder), device="cpu")
    model, tokenizer = load_model(config), load_tokenizer(config)
    ids = tokenizer("abc def")["input_ids"]
    [expected] = decode(
        model, [ids], max_new_tokens=12, ends=[0], banned=range(len(tokenizer), 260)
    )
    assert text["token_ids"] == expected.ids
    assert text["prompt"] == "abc def"


def test_samples_differ_and_come_again(model_folder):
    common = (model_folder, "--prompt", "abc", "--decoder", "min_p:0.05", "max_new_tokens=10")
    first = texts(*common, "num_samples=3")
    assert len({str(text["token_ids"]) for text in first}) == 3
    assert texts(*common, "num_samples=3", "batch_size=1") == first
    assert texts(*common, "num_samples=3", "--seed", 5) != first


@pytest.mark.parametrize("setting", [("--seed", 5), ("num_samples=3",)])
def test_what_only_a_draw_needs_is_refused_without_one(setting, model_folder):
    result = hyperfit("generate", model_folder, "--prompt", "abc", *setting)
    assert result.exit_code == 2
    assert "without a decoder that draws, and would have no effect" in " ".join(
        result.output.split()
    )


def test_prompts_from_a_file_keep_their_order(model_folder, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("one\n\ntwo three\n")
    found = texts(model_folder, "--prompt", "zero", "--prompts", file, "max_new_tokens=4")
    assert [text["prompt"] for text in found] == ["zero", "one", "two three"]


def test_a_line_of_prompts_ends_at_a_line_feed_only(model_folder, tmp_path):
    """As editors of all systems write them; what else breaks lines is part of a prompt."""
    prompts = ["one\u2028two", "three\x0cfour", "five\x85six", "a\rb"]
    for name, encoding, end in (("p", "utf-8", "\n"), ("w", "utf-8-sig", "\r\n")):
        file = tmp_path / f"{name}.txt"
        file.write_bytes(end.join([*prompts, ""]).encode(encoding))
        found = texts(model_folder, "--prompts", file, "max_new_tokens=2")
        assert [text["prompt"] for text in found] == prompts


def test_a_run_and_its_adapter_write_the_same(model_folder, texts_file, tmp_path):
    run = tmp_path / "run"
    assert train(model_folder, texts_file, run, "train.learning_rate=0.1").exit_code == 0
    common = ("--prompt", "abc", "max_new_tokens=10")
    tuned = texts(run, *common)
    assert tuned == texts(run / "adapter", *common)
    assert tuned != texts(model_folder, *common)


def test_an_amateur_takes_part(model_folder, tmp_path):
    amateur = save_tiny(tmp_path / "amateur", "qwen2", unnamed=["<|endoftext|>"])
    common = (model_folder, "--prompt", "abc", "max_new_tokens=6", "--decoder")
    assert "another vocabulary" in refused(*common, "contrastive_decoding", "--amateur", amateur)
    assert "was given" in refused(*common, "contrastive_decoding")
    assert "does not use" in refused(*common, "greedy", "--amateur", model_folder)
    same = texts(*common, "contrastive_decoding", "--amateur", model_folder)
    assert len(same[0]["token_ids"]) <= 6


def refused(*arguments):
    result = hyperfit("generate", *arguments)
    assert result.exit_code == 2, result.output
    return result.output


def test_bad_input(model_folder, tmp_path):
    prompt = ("--prompt", "abc")
    assert "nothing to continue" in refused(model_folder)
    assert "nothing to continue" in refused(model_folder, "--prompt", " ")
    assert "cannot be read" in refused(model_folder, "--prompts", tmp_path / "none.txt")
    assert "min_p" in refused(model_folder, *prompt, "--decoder", "minp:0.1")
    assert "min_p" in refused(model_folder, *prompt, "--decoder", "min_p:7")
    long = refused(model_folder, *prompt, "--prompt", "abcdef", "max_new_tokens=500")
    assert "positions" in long
    assert "prompt 2 has" in long
    assert "does not exist" in refused(tmp_path / "nowhere", *prompt)


def test_terminal_output_has_no_control_characters(model_folder):
    torch.manual_seed(0)
    common = ("--prompt", "\x1b[31mabc", "--decoder", "temperature:2", "max_new_tokens=40")
    result = hyperfit("generate", model_folder, *common)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
