"""Every `key=value`, `--flag` and command that we print or document is run as far as its settings.

They are collected from the code, the documents and the help, so that a new one is tested by itself.
"""

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hyperfitting import verbs
from hyperfitting.cli.main import app
from hyperfitting.config import CheckpointsConfig, RunConfig
from hyperfitting.config.demo import resolve_demo
from hyperfitting.config.describe import SCHEMAS as VERBS
from hyperfitting.config.layers import Layer, build, leaf_fields, read_overrides
from hyperfitting.config.methods import METHODS
from hyperfitting.config.plans import PlanConfig
from hyperfitting.config.resolve import not_for, resolve_run
from hyperfitting.records.record import write_file
from hyperfitting.runs import RunFolder
from tests.manifests import manifest

# `evaluate` and `explain` take these beside their own, with --base and --tuned.
SCHEMAS = VERBS | {"checkpoints": CheckpointsConfig, "study": PlanConfig}
ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "hyperfitting"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Not after a comma: `late_stage_lora,seed=1` is an arm of a study.
KEY, VALUE = r"(?<![\w./,-])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", r"(?:\[[^\]\n]*\]|[^\s`,;()\[\]]*)"
TOGETHER = re.compile(rf"{KEY}={VALUE}(?: {KEY}={VALUE})*")  # what one command is to be given
SETTING = re.compile(rf"({KEY})=({VALUE})")
# What a reader replaces; an f-string's own part is written as {}.
PLACEHOLDERS = {"", "...", "{}", "N", "NAME", "MODEL", "PRICE", "TEXTS", "value"}
# Parameters of decoders, options of figures and of other programs.
NO_SETTINGS = {
    "key", "alpha", "base", "beams", "breakers", "decay", "eta", "k", "length_penalty",
    "normalised", "num_beams", "q", "tau", "window", "width", "height", "role", "n",
    "safe_serialization", "return_tensors", "do_sample", "schema", "add_special_tokens",
    "eos_token_id", "gguf_file",
}  # fmt: skip
# Cells of Python and what they print.
PYTHON = re.compile(r"^```(?:python|text)\n.*?^```$", re.M | re.S)
# Options of other programs.
NO_FLAGS = {
    "--extra-index-url", "--merge", "--repeats", "--contexts", "--quick", "--gpu", "--models",
    "--arms", "--rounds", "--outfile", "--outtype", "--build", "--temp", "--repeat-penalty",
    "--model", "--max-lora-rank", "--from", "--constraints", "--prompt", "--install-completion",
    "--depth",
}  # fmt: skip
# Whose settings the messages of a part speak of; of the rest, any verb's.
VERBS_OF = {
    "judge": ("judge",), "train": ("train",), "data": ("train",), "models": ("train",),
    "report": ("report", "evaluate"), "generate": ("generate", "evaluate"),
}  # fmt: skip
COMMAND_LINE = typer.main.get_command(app)
SECTIONS = {key.split(".")[0] for s in SCHEMAS.values() for key, _ in leaf_fields(s) if "." in key}


def literals(path):
    """Every text in a module, docstrings too, with {} for what an f-string fills in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner |= set(map(id, node.values))
            yield "".join(
                str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield "" if id(node) in inner else node.value


def texts():
    """Where a text stands, the verbs it is about, and the text."""
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE)
        own = (place.stem,) if place.parts[0] == "cli" else VERBS_OF.get(place.parts[0])
        about = own if own and set(own) <= SCHEMAS.keys() else tuple(SCHEMAS)
        for text in literals(path):
            yield str(place), about, text
    for path in DOCUMENTS:
        text = PYTHON.sub("", path.read_text(encoding="utf-8"))
        yield str(path.relative_to(ROOT)), tuple(SCHEMAS), text
    for name, command in COMMAND_LINE.commands.items():
        context = typer.Context(command, info_name=name)
        yield (
            f"{name} --help",
            (name,) if name in SCHEMAS else tuple(SCHEMAS),
            " ".join(command.get_help(context).split()),
        )


def documented():
    """Every documented group of settings with the verbs it is about, and where it stands."""
    found = {}
    for place, about, text in texts():
        for together in TOGETHER.findall(text):
            group = tuple(
                (key, value.rstrip(".:'\""))
                for key, value in SETTING.findall(together)
                if not key.isupper() and key not in NO_SETTINGS
            )
            if group:
                found.setdefault((group, about), place)
    return found


def accepts(verb, layer):
    """Raise InputError unless the verb takes the settings, whatever else is given."""
    schema = SCHEMAS[verb]
    if verb == "demo":
        resolve_demo([layer])
        return
    if verb == "study":
        one = {"models": ["x"], "sources": ["x"], "model.name": "x", "data.source": "x"}
        build(schema, [Layer("", one), layer])
        return
    needed = {key: "x" for key, field in leaf_fields(schema) if field.is_required()}
    if verb != "train":
        build(schema, [Layer("", needed), layer])
        return
    methods = [m for m in METHODS if not set(not_for(m)) & layer.leaves.keys()]
    for method in methods:
        base = needed | {"train.method": method}
        resolve_run([Layer("", base), layer])
    assert methods


DOCUMENTED = documented()


@pytest.mark.parametrize(
    ("group", "about"),
    DOCUMENTED,
    ids=[f"{place}:{' '.join('='.join(s) for s in g)}" for (g, _), place in DOCUMENTED.items()],
)
def test_every_documented_setting_is_accepted(group, about):
    keys = {key for key, _ in group}
    about = (*about, *(["checkpoints"] if {"evaluate", "explain"} & {*about} else []))
    takers = [verb for verb in about if keys <= dict(leaf_fields(SCHEMAS[verb])).keys()]
    assert takers, f"{', '.join(keys)}: no settings of {', '.join(about)}"
    if "train" in takers:  # these have the settings of training and run several methods
        takers = [verb for verb in takers if verb not in ("demo", "study")]
    given = [f"{key}={value}" for key, value in group if value not in PLACEHOLDERS]
    for verb in takers:
        accepts(verb, read_overrides(given))


def test_the_collection_sees_hints_documents_and_help():
    found = {(s, place) for (group, _), place in DOCUMENTED.items() for s in group}
    assert found > {
        (("train.compile", "off"), "train/setup.py"),  # a hint
        (("max_tokens", "null"), "judge/endpoint.py"),
        (("best_val", "true"), "CHANGELOG.md"),
        (("data.window_tokens", "64"), "README.md"),
        (("natural_tokens", "128"), "cli/evaluate.py"),
    }
    assert len(found) > 40


def test_every_dotted_key_in_a_document_exists():
    known = {key for schema in SCHEMAS.values() for key, _ in leaf_fields(schema)}
    sections = {key.rsplit(".", n)[0] for key in known for n in (1, 2) if key.count(".") >= n}
    pattern = re.compile(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_.]+)[`=]")
    found = {key for path in DOCUMENTS for key in pattern.findall(path.read_text("utf-8"))}
    found = {key for key in found if not key.endswith(".py")}
    modules = {f"{p.parent.name}.{p.stem}" for p in SOURCE.rglob("*.py")}
    wrong = {key for key in found - known - sections if ".".join(key.split(".")[:2]) not in modules}
    assert not wrong
    assert len(found) > 10


def flags_of(command):
    return {flag for option in command.params for flag in option.opts}


def all_commands():
    for name, command in COMMAND_LINE.commands.items():
        yield from getattr(command, "commands", {name: command}).values()


def test_every_flag_that_is_named_exists():
    known = {"--help", "--version", *(flag for c in all_commands() for flag in flags_of(c))}
    named = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
    found = {}
    for place, _, text in texts():
        if not place.startswith("report"):  # colours of the page
            for flag in named.findall(text):
                found.setdefault(flag, place)
    assert not {flag: place for flag, place in found.items() if flag not in known | NO_FLAGS}
    assert len(found.keys() & known) > 25


def commands_in(text):
    """Command lines in a document: in backticks, or a line of a fence."""
    fences = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    inline = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for line in fences.splitlines():
        if match := re.match(r"(?:\.venv/bin/)?hyperfit (.*)", line):
            yield shlex.split(match[1], comments=True)
    for command in re.findall(r"`hyperfit ([^`]+)`", inline):
        yield shlex.split(" ".join(command.partition(" > ")[0].split()))


def examples_in(docstring):
    """The examples of a command's help: each from `hyperfit` to the next heading or the end."""
    for example in re.findall(r": hyperfit ((?:.|\n)*?)(?=\n[A-Z][^\n]*: hyperfit|\Z)", docstring):
        yield shlex.split(example.partition(" > ")[0])


def documented_commands():
    found = []
    for path in DOCUMENTS:
        if path.name not in ("CHANGELOG.md", "log.md"):
            found += [tuple(words) for words in commands_in(path.read_text(encoding="utf-8"))]
    for command in all_commands():
        found += [tuple(w) for w in examples_in(inspect.cleandoc(command.callback.__doc__ or ""))]
    # A bare verb is a name, not a command to type.
    return sorted({words for words in found if len(words) > 1 or words == ("demo",)})


class ReachedError(Exception):
    """The settings were resolved, and the verb would begin."""


def reached(*_args, **_kwargs):
    raise ReachedError


@pytest.mark.parametrize("words", documented_commands(), ids=" ".join)
def test_every_documented_command_resolves_its_settings(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("The old bridge\n")
    for name in verbs.DOORS:
        monkeypatch.setattr(verbs, name, reached)
    if "--resume" in words:
        run = RunFolder(Path(words[words.index("--out") + 1]))
        base = {"model.name": "m", "data.source": "d", "train.method": "late_stage_lora"}
        config = build(RunConfig, [Layer("", base)]).config
        stored = manifest(status="training", config=config.model_dump(mode="json"))
        write_file(run.manifest_file, stored)
    result = CliRunner().invoke(app, list(words))
    if words[0] == "config":
        assert result.exit_code == 0, result.output
    else:
        assert isinstance(result.exception, ReachedError), result.output


def test_the_commands_are_collected():
    found = documented_commands()
    assert {words[0] for words in found} >= {"train", "evaluate", "explain", "judge", "generate"}
    assert len(found) > 15
