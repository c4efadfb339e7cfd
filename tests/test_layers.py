"""Imports go one way, and the light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "hyperfitting"
BASE = {"errors", "faults", "config", "foreign", "records", "progress", "untrusted", "strict_json"}
FILES_OF_A_RUN = {"runs", "storage", "seals", "writable"}
# What each part may import of this package, besides itself: nothing that stands below it here.
ALLOWED = {
    "errors": set(),
    "faults": {"errors"},
    "writable": {"faults"},
    "interrupts": set(),
    "entry": {"interrupts", "faults", "untrusted", "cli"},
    "written": set(),
    "allocation": set(),
    "builtin": set(),
    "untrusted": set(),
    "strict_json": set(),
    "terminal": {"untrusted"},
    "progress": {"terminal"},
    "foreign": {"errors"},
    "storage": {"errors", "faults", "foreign", "strict_json"},
    "seals": {"errors", "foreign", "storage"},
    "environment": {"__init__", "records"},
    "config": {"errors", "written"},
    "records": {"errors", "config", "foreign", "untrusted", "storage", "seals"},
    "runs": {"errors", "faults", "foreign", "records", "storage", "seals"},
    "data": BASE | {"builtin"},
    "measure": {"errors", "records"},
    "models": BASE | FILES_OF_A_RUN | {"allocation", "builtin", "data", "measure"},
    "generate": BASE | FILES_OF_A_RUN | {"data", "models", "measure"},
    "report": BASE | FILES_OF_A_RUN | {"measure"},
    # Its figure of a run is the report's.
    "train": BASE
    | FILES_OF_A_RUN
    | {"allocation", "environment", "data", "models", "generate", "measure", "report"},
    # What evaluate, explain and tasks share.
    "compare": BASE | FILES_OF_A_RUN | {"data", "models", "generate", "measure", "train"},
    "tasks": BASE | {"models", "measure", "compare"},
    "evaluate": BASE
    | FILES_OF_A_RUN
    | {
        "allocation",
        "environment",
        "data",
        "models",
        "generate",
        "measure",
        "compare",
        "train",
        "tasks",
    },
    "explain": BASE
    | FILES_OF_A_RUN
    | {"environment", "data", "models", "generate", "measure", "compare"},
    "diagnose": BASE | FILES_OF_A_RUN | {"environment", "data", "models", "generate", "measure"},
    "doctor": BASE | FILES_OF_A_RUN | {"data", "models", "measure"},
    "export": BASE
    | FILES_OF_A_RUN
    | {"environment", "data", "models", "generate", "measure", "report"},
    "judge": BASE | FILES_OF_A_RUN | {"written", "data", "models", "generate", "measure"},
    "begun": {"errors", "config", "records", "runs"},
    "demo": BASE | FILES_OF_A_RUN | {"models", "train", "evaluate", "explain", "report", "begun"},
    "study": BASE | FILES_OF_A_RUN | {"interrupts", "models", "evaluate", "explain", "report"},
    "fix": BASE
    | FILES_OF_A_RUN
    | {"begun", "models", "doctor", "diagnose", "train", "evaluate", "export", "report", "study"},
    # The doors, which import when they are asked for.
    "verbs": {
        "interrupts",
        "demo",
        "diagnose",
        "doctor",
        "evaluate",
        "explain",
        "export",
        "fix",
        "generate",
        "judge",
        "train",
        "report",
        "study",
    },
    "cli": BASE
    | FILES_OF_A_RUN
    | {"report", "measure", "verbs", "allocation", "terminal", "interrupts", "__init__"}
    # When a command runs, never at the top: see below.
    | {"begun", "models", "compare", "generate", "study", "export"},
}
ONLY_IN = {
    "transformers": {"models", "generate", "train", "study"},
    "accelerate": {"models", "train"},
    "trl": set(),
    "peft": {"models", "train"},
    "openai": {"judge"},
    "sklearn": {"measure"},
    "sacrebleu": {"measure"},
    "lm_eval": {"tasks"},
    "typer": {"cli"},
    "matplotlib": {"report"},
}
NO_TORCH = {"report", "cli", "config", "records", "runs", "data"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def part(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    here = part(path)
    for module in imports(path):
        top, *rest = module.split(".")
        if top == "hyperfitting" and rest and here in ALLOWED:
            assert rest[0] in ALLOWED[here] | {here}, f"{here} must not import {module}"
        if top in ONLY_IN:
            assert here in ONLY_IN[top], f"{top} belongs to {ONLY_IN[top]}"
        if top == "torch":
            assert here not in NO_TORCH


def test_every_part_is_watched():
    assert {part(p) for p in FILES} - {"__init__", "__main__"} == set(ALLOWED)


COMMANDS = (
    "demo",
    "study",
    "train",
    "evaluate",
    "explain",
    "judge",
    "generate",
    "report",
    "export",
    "diagnose",
    "doctor",
    "compare",
    "fix",
    "config",
)
LIGHT = [["--help"], ["config", "show", "train"], *([name, "--help"] for name in COMMANDS)]


@pytest.mark.parametrize("command", LIGHT, ids=" ".join)
def test_help_loads_no_torch(command):
    code = (
        "import sys; from hyperfitting.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'scipy', 'matplotlib', 'peft'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout
