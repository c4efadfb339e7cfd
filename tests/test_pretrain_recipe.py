"""The pre-training recipe on texts of a few hundred tokens: what it writes, reads and refuses."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.recipes import recipe_of

recipe = recipe_of("pretrain_builtin")

SIZES = (
    *("--blocks=2", "--width=32", "--mlp=48", "--vocabulary=280", "--tokens=600"),
    *("--heldout-files=1", "--window=16", "--batch=4", "--device=cpu"),
)
WORDS = ["The", "rain", "fell", "on", "a", "garden", "wall", "and", "nobody", "came", "“Oh”", "by."]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(1)
    for i in range(5):
        (folder / f"{i}.txt").write_text(" ".join(rng.choice(WORDS, 60 + 40 * i)))
    return folder


def pretrain(texts, out, *more):
    assert recipe.main([str(texts), "--out", str(out), *SIZES, *more]) == 0
    return out


@pytest.fixture(scope="module")
def trained(texts, tmp_path_factory):
    return pretrain(texts, tmp_path_factory.mktemp("trained"))


def test_the_folder_is_laid_out_as_transformers_expects(trained):
    model = AutoModelForCausalLM.from_pretrained(trained)
    tokenizer = AutoTokenizer.from_pretrained(trained)
    text = 'Nobody came by.\n"Oh" - é'
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.convert_tokens_to_ids(recipe.END) == tokenizer.eos_token_id == 0
    assert model.config.vocab_size == len(tokenizer) == 280
    assert model.generation_config.eos_token_id == 0
    assert {f.name for f in trained.iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors", "training.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    record = json.loads((trained / "training.json").read_text())
    assert record["parameters"] == model.num_parameters()
    assert 0 < record["validation_loss_nats"] < np.log(280) + 1
    assert 500 < record["tokens"] <= 600


def test_one_seed_gives_one_set_of_weights(trained, texts, tmp_path):
    first = load_file(trained / "model.safetensors")
    again = load_file(pretrain(texts, tmp_path / "again") / "model.safetensors")
    other = load_file(pretrain(texts, tmp_path / "other", "--seed", "1") / "model.safetensors")
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_tokenizer_is_reused_and_weights_are_stored_in_half(trained, texts, tmp_path):
    more = ("--tokenizer", str(trained), "--vocabulary", "270", "--storage", "bfloat16")
    out = pretrain(texts, tmp_path / "half", *more)
    assert AutoTokenizer.from_pretrained(out).get_vocab().keys() == (
        AutoTokenizer.from_pretrained(trained).get_vocab().keys()
    )
    assert {w.dtype for w in load_file(out / "model.safetensors").values()} == {torch.bfloat16}


WRAPPED = "The lines of this have an equal\nlength until it ends. And the\nlast one is short."
LONG = "A paragraph on one line, " + "and on, " * 20 + "ends."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“It’s” wrapped\nhere.\n\n\nNext\xa0 one.\n", ['"It\'s" wrapped here.', "Next one."]),
        (f"{LONG}\n{LONG}\n", [LONG, LONG]),
        (f"{WRAPPED}\n" * 9, [WRAPPED.replace("\n", " ")] * 9),
        ("", []),
    ],
)
def test_paragraphs(text, expected):
    assert recipe.paragraphs(text) == expected


def test_learning_rate_rises_stays_and_falls():
    rates = [recipe.learning_rate(step, 100, 4e-3) for step in (0, 1, 50, 60, 80, 99)]
    assert rates == pytest.approx([2e-3, 4e-3, 4e-3, 4e-3, 2e-3, 1e-4])  # 2 up, the last 40 down


def test_shares_are_equal_where_texts_are_long_enough():
    assert recipe.equal_share([10, 100, 100], 110) == 50  # 10 + 50 + 50
    assert recipe.equal_share([10, 20], 1000) == 20


def test_only_matrices_inside_the_blocks_decay(trained):
    model = AutoModelForCausalLM.from_pretrained(trained)
    decaying, others = recipe.make_optimizer(model).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert (len(decaying["params"]), len(others["params"])) == (2 * 7, 2 * 2 + 2)


@pytest.mark.parametrize(
    ("files", "occupied", "message"),
    [(0, False, "no .txt file"), (1, False, "holds 1 .txt"), (2, True, "not an empty folder")],
)
def test_refusals_end_with_code_2(files, occupied, message, tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    (tmp_path / "out").mkdir()
    for i in range(files):
        (tmp_path / "texts" / f"{i}.txt").write_text("Some text.")
    if occupied:
        (tmp_path / "out" / "notes").touch()
    arguments = [str(tmp_path / "texts"), "--out", str(tmp_path / "out"), *SIZES]
    assert recipe.main(arguments) == 2
    assert message in capsys.readouterr().err
