"""Every odd setting ends in one message and exit code 2: nothing endless, nothing read otherwise.

`hyperfit config show` resolves the settings of each verb as the verb does.
"""

import re
import time

import pytest
from typer.testing import CliRunner

from hyperfitting.cli.main import app
from hyperfitting.config.describe import SCHEMAS
from hyperfitting.config.layers import leaf_fields, read_config_file
from hyperfitting.errors import InputError
from hyperfitting.written import DEEPEST, MOST_CHARACTERS, MOST_VALUES, TextError, read_yaml

LIMIT_S = 5.0  # far above what these take, and far below endless


def refusal(*words):
    """The one message of a command that refuses its settings."""
    start = time.monotonic()
    result = CliRunner().invoke(app, ["config", "show", *map(str, words)])
    assert time.monotonic() - start < LIMIT_S
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") <= 5
    assert max(map(len, result.stderr.splitlines())) < 400
    return result.stderr


ODD = [
    ("train", "train.learning_rate=.inf", "finite"),
    ("train", "train.learning_rate=1e300", "less than or equal"),
    ("train", "train.target_loss=.inf", "finite"),
    ("train", "train.seed=99999999999999999999", "4294967295"),
    ("train", "train.lora.alpha=1" + "0" * 400, "1000000\n"),
    ("train", "train.lora.rank=1000000", "65536"),
    ("train", "train.epochs=" + "1" * 5000, "'train.epochs' is"),
    ("train", "train.epochs=" + "[" * 5000, f"deeper than {DEEPEST} levels"),
    ("train", "train.epochs=[" + "1," * MOST_VALUES + "]", f"more than {MOST_VALUES:,} values"),
    ("train", "train.epochs=1e300", "'train.epochs' is 1e"),
    ("train", "train.epochs=true", "not true or false"),
    ("train", "train.epochs=1:30", "'1:30'"),
    ("train", "train.epochs=!!bool yes", "'train.epochs' is '!!bool yes'"),
    ("train", "train.method=[full_sft]", "one of full_sft"),
    ("train", "train.method={a: b}", "one of full_sft"),
    ("train", "train.lora=null", "group of settings"),
    ("train", "train={}", "group of settings"),
    ("train", "data.source={a: b}", "valid string"),
    ("train", "data.source=" + "a" * 5000, "at most 4096 bytes"),
    ("train", "data.source=" + "a" * 300, "at most 255 bytes"),
    ("train", "model.name=" + "ä" * 200, "at most 255 bytes"),
    ("train", "data.text_field=a\0b", "null characters"),
    ("train", "data.text_field=\ud800", "halves of characters"),
    ("train", 'data.text_field="\\ud800"', "halves of characters"),
    ("train", "data.window_tokens=100000000", "1048576"),
    ("train", "data.template_date=86400", "a day such as"),
    ("train", "data.template_date=0", "a day such as"),
    ("train", "data.template_date=2026-02-30", "'2026-02-30'"),
    ("train", "monitor.track={a: b}", "a list such as"),
    ("train", "train.keep_at_loss=[0.5, 0]", "losses above 0 and at most 1000"),
    ("train", "train.keep_at_loss=[-1]", "losses above 0 and at most 1000"),
    ("train", "train.keep_at_loss=[2000]", "losses above 0 and at most 1000"),
    ("train", "train.keep_at_loss=[.nan]", "finite"),
    ("train", "train.keep_at_loss=[0.5, 5e-1]", "each once"),
    ("train", "train.keep_at_loss=[true]", "not true or false"),
    ("evaluate", "at_loss=[0]", "losses above 0 and at most 1000"),
    ("evaluate", "at_loss=[1, 1.0]", "each once"),
    ("evaluate", "resamples=1000000000000", "1000000\n"),
    ("evaluate", "sampling_seeds=1000000000", "1000\n"),
    ("evaluate", "mauve_seeds=100000000", "1000\n"),
    ("evaluate", "margin_ttr=.inf", "finite"),
    ("explain", "strengths=[.nan]", "finite"),
    ("explain", "strengths=[-1]", "from 0 to 1000"),
    ("explain", "strengths=[1, 1.0]", "each once"),
    ("explain", "swap_blocks=[2, 3, 2]", "each once"),
    ("train", "monitor.track=[wandb, wandb]", "each once"),
    ("explain", "strengths=[" + "1," * 200 + "]", "at most 100 items"),
    ("explain", "random_draws=1000000000", "1000\n"),
    ("judge", "timeout_seconds=1e300", "86400"),
    ("generate", "num_samples=1000000000000", "10000\n"),
    ("report", "num_examples=1e18", "10000\n"),
]


@pytest.mark.parametrize(("verb", "given", "says"), ODD, ids=[f"{v} {g[:40]!r}" for v, g, _ in ODD])
def test_an_odd_setting_is_refused_at_once(verb, given, says):
    assert says in refusal(verb, given)


def numbers():
    """Every setting that is a number or numbers, with a far too large one of its kind."""
    for verb, schema in SCHEMAS.items():
        for key, field in leaf_fields(schema):
            if found := re.search(r"\b(int|float)\b", str(field.annotation)):
                large = "1" + "0" * 18 if found[1] == "int" else "1e300"
                yield verb, key, f"[{large}]" if "tuple" in str(field.annotation) else large


@pytest.mark.parametrize(("verb", "key", "large"), list(numbers()))
def test_every_number_has_an_upper_end_and_is_no_boolean(verb, key, large):
    assert re.search(r"less than|at most|to 1000", refusal(verb, f"{key}={large}"))
    true = "[true]" if large[0] == "[" else "true"
    assert "not true or false" in refusal(verb, f"{key}={true}")


def bomb(one, join):
    """A few lines whose aliases, written out, are 10^9 values."""
    lines = [f"train: &a0 {one}\n"]
    lines += [f"k{i}: &a{i} {join([f'*a{i - 1}'] * 10)}\n" for i in range(1, 10)]
    return "".join(lines)


FILES = {
    "aliases of mappings": (
        bomb("{x: 1}", lambda names: f"{{{', '.join(f'p{i}: {n}' for i, n in enumerate(names))}}}"),
        f"more than {MOST_VALUES:,} values, aliases written out",
    ),
    "aliases of lists": (bomb("[1]", lambda names: f"[{', '.join(names)}]"), "aliases written out"),
    "merged aliases": (
        bomb("{x: 1}", lambda names: f"{{<<: [{', '.join(names)}]}}"),
        "aliases written out",
    ),
    "a chain of aliases": (
        "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100)),
        f"deeper than {DEEPEST} levels",
    ),
    "a mapping in itself": ("train: &a {b: *a}\n", "it never ends"),
    "a list in itself": ("train: {epochs: &a [*a]}\n", "it never ends"),
    "merged with itself": ("train: &a {<<: *a}\n", "it never ends"),
    "deep lists": ("train: " + "[" * 100_000, f"deeper than {DEEPEST} levels"),
    "deep mappings": ("{a: " * 300 + "1" + "}" * 300, f"deeper than {DEEPEST} levels"),
    "long": ("# x\n" * MOST_CHARACTERS, f"longer than {MOST_CHARACTERS:,} characters"),
    "one key": ("k" * MOST_CHARACTERS + ": 1", f"longer than {MOST_CHARACTERS:,} characters"),
    "many keys": ("".join(f"k{i}: 1\n" for i in range(MOST_VALUES)), f"{MOST_VALUES:,} values"),
    "a key twice": ("train:\n  epochs: 1\n  epochs: 2\n", "'epochs' stands twice"),
    "a word that is no boolean": ("train: {lora: {dora: !!bool maybe}}", "'maybe' is no bool"),
    "a time as a number": ("train: {epochs: !!int 1:30}", "'1:30' is no int"),
    "a set": ("data: !!set {a, b}", "tag"),
    "a call": ("data: !!python/object/apply:os.system [ls]", "tag"),
    "a mapping for a text": ("data: {source: {builtin: null}}", "'data.source.builtin'"),
    "half a character": ('data: {source: "\\ud800"}', "halves of characters"),
}


@pytest.mark.parametrize(("content", "says"), FILES.values(), ids=FILES)
def test_an_odd_file_is_refused_at_once(content, says, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(content)
    assert says in refusal("train", "--config", path)


def test_a_key_twice_is_told_with_its_line(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("train:\n  epochs: 1\n  epochs: 2\n")
    with pytest.raises(InputError, match="line 3, column 3"):
        read_config_file(path)


def test_a_pipe_that_never_ends_is_read_to_the_limit():
    assert "characters" in refusal("train", "--config", "/dev/zero")


def test_what_is_common_stays_allowed(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("a: &shared {epochs: 3}\ntrain: {<<: *shared, seed: !!int 4}\n")
    found = read_config_file(path).leaves
    assert {key: value.value for key, value in found.items()} == {
        "a.epochs": 3, "train.epochs": 3, "train.seed": 4,
    }  # fmt: skip
    deep = "{a: " * (DEEPEST - 1) + "1" + "}" * (DEEPEST - 1)
    assert read_yaml(deep)
    with pytest.raises(TextError, match="deeper"):
        read_yaml(f"{{a: {deep}}}")
    assert len(read_yaml("[" + "1," * (MOST_VALUES - 1) + "]")) == MOST_VALUES - 1
