"""No option and no setting is accepted and ignored: each changes what its stage is given.

Every option of every command, and every setting of every config, is given another value than the
one it has. What the verb is called with must then differ, or the command must refuse it.
"""

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import typer
from typer.testing import CliRunner

import hyperfitting.demo
from hyperfitting import verbs
from hyperfitting.cli.main import app
from hyperfitting.compare.comparison import Here
from hyperfitting.compare.kept import Kept
from hyperfitting.compare.subject import Opened, Runs, open_subject
from hyperfitting.config import (
    CheckpointsConfig,
    DemoConfig,
    EvaluateConfig,
    ExplainConfig,
    RunConfig,
)
from hyperfitting.config.demo import demo_runs, resolve_demo
from hyperfitting.config.describe import SCHEMAS
from hyperfitting.config.judge import JudgeConfig
from hyperfitting.config.layers import flatten, leaf_fields, nest, read_overrides
from hyperfitting.config.methods import METHODS
from hyperfitting.config.resolve import not_for
from hyperfitting.errors import InputError
from hyperfitting.evaluate.plan import check
from hyperfitting.explain.plan import require_settings
from hyperfitting.explain.verb import explain
from hyperfitting.judge.verb import judge
from hyperfitting.progress import Progress
from hyperfitting.written import settle

BASES = {
    "demo": [],
    "train": ["m", "--data", "d", "--method", "late_stage_lora", "--out", "o"],
    "evaluate": ["run"],
    "explain": ["run"],
    "judge": ["study", "--a", "x", "--b", "y", "--model", "m"],
    "generate": ["m", "--prompt", "p"],
    "report": ["study"],
    "export": ["run", "--out", "o"],
    "compare": ["a", "b", "--prompt", "p"],
    "diagnose": ["m"],
    "doctor": ["d"],
    "fix": ["m", "--data", "d"],
}
PAIR = ["--base", "a", "--tuned", "b", "--data", "d", "--out", "o"]
# How a command prints, which is not what its stage is given.
NUMBERS = {"--seed", "--last-blocks", "--first-blocks", "--pairs"}
SHOWN = {"as_json", "config", "help", "swap_check"}
# Settings that are refused unless another one stands beside them.
TOGETHER = {"train.lora.init": ["train.lora.dora=false"], "train.target_loss": []}
VALUES = {
    "methods": "[full_sft]", "explained": "[full_lora]", "track": "tensorboard",
    "template_date": "2026-01-10", "monitor.track": "[tensorboard]", "preset": "paper",
    "decoder": "min_p", "decoders": "min_p", "swap_blocks": "[1]", "every_epochs": "7",
    "nulls": "[self_samples]", "prompts": None, "num_contexts": "3", "windows": "documents",
    "loss_on": "assistant", "confidence": "0.8", "prefix_cache": "off",
}  # fmt: skip


def plain(kind: Any) -> Any:
    """The type behind Optional and Annotated."""
    if get_origin(kind) in (Union, types.UnionType):
        return plain(next(each for each in get_args(kind) if each is not type(None)))
    return get_args(kind)[0] if hasattr(kind, "__metadata__") else kind


def another(key: str, kind: Any, value: Any) -> str:
    """A value of a setting that is not the one it has, as a user writes it."""
    for name in (key, key.split(".")[-1]):
        if VALUES.get(name):
            return str(VALUES[name])
    kind = plain(kind)
    if kind is bool:
        return "false" if value else "true"
    if get_origin(kind) is Literal:
        return str(next(each for each in get_args(kind) if each != value))
    if kind is int:
        return str((value or 0) + 3)
    if kind is float:
        return str((value if isinstance(value, float) and value else 0.4) * 0.5)
    if get_origin(kind) is tuple:
        return "[0.3]"
    return next(name for name in METHODS if name != value) if "method" in key else "another"


class ReachedError(Exception):
    """The verb was called."""


def called(monkeypatch, words):
    """What the command's verb is called with; None where it was refused."""
    found = []

    def verb(*args, **options):
        found.append([*args, options])
        raise ReachedError

    for name in verbs.DOORS:
        monkeypatch.setattr(verbs, name, verb)
    result = CliRunner().invoke(app, words)
    if result.exit_code == 2:
        return None
    assert isinstance(result.exception, ReachedError), result.output
    return [_comparable(each) for each in found[0]]


def _comparable(value):
    return {} if isinstance(value, Progress) else value


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def settings():
    for verb, schema in SCHEMAS.items():
        if verb != "demo":  # below: what its stages are given
            for key, field in leaf_fields(schema):
                yield verb, BASES[verb], key, field
    for key, field in leaf_fields(CheckpointsConfig):
        for verb in ("evaluate", "explain"):
            yield verb, PAIR, key, field


@pytest.mark.parametrize(
    ("verb", "base", "key", "field"), list(settings()),
    ids=[f"{verb} {'pair ' * (base is PAIR)}{key}" for verb, base, key, _ in settings()],
)  # fmt: skip
def test_a_setting_changes_what_the_verb_is_given(verb, base, key, field, monkeypatch):
    words = [verb, *base]
    if key in not_for("late_stage_lora"):
        words[words.index("late_stage_lora")] = next(m for m in METHODS if key not in not_for(m))
    before = called(monkeypatch, words)
    given = f"{key}={another(key, field.annotation, field.get_default())}"
    assert before is not None
    assert called(monkeypatch, [*words, given, *TOGETHER.get(key, [])]) != before, given


def options():
    group = typer.main.get_command(app)
    for verb, base in (*BASES.items(), ("evaluate", PAIR), ("explain", PAIR)):
        for option in group.commands[verb].params:
            shown = SHOWN | ({"out"} if verb == "compare" else set())  # texts, instead of a table
            if option.param_type_name == "option" and option.name not in shown:
                yield verb, base, option


@pytest.mark.parametrize(
    ("verb", "base", "option"), list(options()),
    ids=[f"{verb} {'pair ' * (base is PAIR)}{o.opts[0]}" for verb, base, o in options()],
)  # fmt: skip
def test_an_option_changes_what_the_verb_is_given(verb, base, option, monkeypatch):
    flag = option.opts[0]
    words = [verb, *base]
    if flag == "--first-blocks":
        words[words.index("late_stage_lora")] = "early_stage_lora"
    before = called(monkeypatch, words)
    if flag in words:
        place = words.index(flag)
        words = [*words[:place], *words[place + 2 :]]
    if option.is_flag:
        value = []
    elif flag == "--prompts":
        Path("prompts.txt").write_text("another\n")
        value = ["prompts.txt"]
    else:
        number = flag in NUMBERS
        value = ["7" if number else "cpu" if flag == "--device" else another(option.name, str, "")]
        if flag == "--method":
            value = ["full_sft"]
    assert called(monkeypatch, [*words, flag, *value]) != before, flag


# The demo calls other verbs: what these are given


def demo_calls(monkeypatch, overrides):
    """What the stages of a demo with these settings are called with."""
    found = []

    def stage(name):
        def call(*args, **options):
            kept = {k: v for k, v in options.items() if k not in ("dataset", "sources")}
            found.append((name, [_comparable(each) for each in args], kept))

        return call

    checks = ("check", "check_controls", "check_length")
    for name in ("train", "evaluate", "explain", "report", "read_dataset", *checks):
        monkeypatch.setattr(hyperfitting.demo, name, stage(name))
    monkeypatch.setattr(hyperfitting.demo, "begin", lambda *_: None)  # notes every setting
    resolved = resolve_demo([read_overrides(overrides)] if overrides else [])
    hyperfitting.demo.demo(resolved.config, Path("out"), sources=resolved.sources)
    return found


# `data.null` is refused: the demo's setting is `nulls`.
DEMO = [key for key, _ in leaf_fields(DemoConfig) if key not in ("train.method", "data.null")]


@pytest.mark.parametrize("key", DEMO)
def test_a_setting_of_the_demo_reaches_a_stage(key, monkeypatch):
    field = dict(leaf_fields(DemoConfig))[key]
    base = []
    methods = [name for name in METHODS if key not in not_for(name)]
    if len(methods) < len(METHODS) or key == "model.quantization":
        base = [f"methods=[{', '.join(methods)}]"]
    value = flatten(resolve_demo([]).config.model_dump())[key]
    had = []
    if key == "data.null_source":
        base, had = ["nulls=[other_language]"], ["data.null_source=builtin:news"]
    if key == "train.stop":  # some of its rules need many monitoring points
        base = ["monitor.every_epochs=1"]
    before = demo_calls(monkeypatch, [*base, *had])
    given = f"{key}={another(key, field.annotation, value)}"
    assert demo_calls(monkeypatch, [*base, given]) != before, given


def test_a_demo_is_not_trained_on_a_null_alone():
    with pytest.raises(InputError, match=r"nulls=\[shuffled,self_samples\]"):
        resolve_demo([read_overrides(["data.null=shuffled"])])
    with pytest.raises(InputError, match="null_source=x is given without such a null"):
        resolve_demo([read_overrides(["data.null_source=x"])])


# What is given is refused where it has no effect


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mauve_seeds": 9}, "mauve_seeds=9 is given without a feature model"),
        ({"decoders_on": "all"}, "decoders_on=all is given without decoders"),
        ({"decoders_on": "all", "decoders": "greedy"}, "without decoders beside greedy"),
        ({"tasks_limit": 5}, "tasks_limit=5 is given without tasks"),
        ({"tasks_folder": "f", "tasks": " "}, "tasks_folder=f is given without tasks"),
    ],
)
def test_how_something_is_done_is_refused_where_it_is_not_asked_for(settings, words):
    with pytest.raises(InputError, match=words):
        check(EvaluateConfig(**settings), Progress())


def test_defaults_that_are_written_out_are_not_refused():
    check(EvaluateConfig(mauve_seeds=5, decoders_on="original"), Progress())
    check(EvaluateConfig(decoders="min_p", decoders_on="all"), Progress())


def test_blocks_of_a_swap_that_is_left_out_are_refused():
    with pytest.raises(InputError, match=r"swap_blocks=\(1,\) is given without a block swap"):
        explain(Opened(()), ExplainConfig(swap_blocks=(1,), swap_contexts=0))
    require_settings(ExplainConfig(swap_blocks=(1,)))


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({"device": "cpu"}, "local=true too, or without device"),
        ({"trust_remote_code": True}, "local=true"),
        ({"local": True, "api_key_env": "MY_KEY"}, "local=false"),
        ({"local": True, "concurrency": 8}, "local=false"),
        ({"local": True, "timeout_seconds": 5}, "local=false"),
        ({"local": True, "retries": 0}, "local=false"),
        ({"price_in": 2.5}, "price_out=PRICE too"),
        ({"price_out": 2.5}, "price_in=PRICE too"),
    ],
)
def test_a_judge_is_asked_with_what_has_an_effect_on_it(settings, needed, tmp_path):
    config = JudgeConfig(a="one", b="two", model="judge", **settings)
    with pytest.raises(InputError, match=f"would have no effect\nneeded: {needed}"):
        judge(tmp_path, config)


@pytest.mark.parametrize("key", not_for("full_sft"))
def test_a_demo_in_python_refuses_what_is_for_none_of_its_methods(key):
    field = dict(leaf_fields(RunConfig))[key]
    value = field.get_default()
    plain = resolve_demo([]).config.model_dump(exclude_unset=True) | {"methods": ["full_sft"]}
    for given in (value, another(key, field.annotation, value)):
        leaves = flatten(plain) | {key: settle(given, field.annotation)}
        config = DemoConfig.model_validate(nest(leaves))
        if given == value:
            demo_runs(config)
            continue
        with pytest.raises(InputError, match=f"'{key}' .* does not apply to full_sft"):
            demo_runs(config)


def test_a_column_without_texts_and_best_checkpoints_of_no_runs_are_refused(tmp_path):
    runs = Runs(folders=(tmp_path,), text_field="story")
    (tmp_path / "study.json").write_text('{"runs": []}')
    with pytest.raises(InputError, match="lists no runs"):
        open_subject(runs, Here(), Progress())
    entry = '{"arm": "a", "seed": 0, "parameters": {}, "path": "runs/a"}'
    (tmp_path / "study.json").write_text(f'{{"runs": [{entry}]}}')
    with pytest.raises(InputError, match="--text-field.* is given without texts"):
        open_subject(runs, Here(), Progress())
    with pytest.raises(InputError, match="best checkpoints"):
        open_subject(Opened(()), Here(), Progress(), Kept(best_val=True))
    with pytest.raises(InputError, match=r"checkpoints at a training loss \(at_loss\)"):
        open_subject(Opened(()), Here(), Progress(), Kept(at_loss=(0.5,)))
