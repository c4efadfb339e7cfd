"""Imports go one way, and the light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "hyperfitting"
BASE = {"errors", "config", "records", "progress", "presets"}
# What each part may import of this package, besides itself.
ALLOWED = {
    "errors": set(),
    "config": set(),
    "presets": {"config"},
    "written": set(),
    "settings": {"config", "errors", "written"},
    "resolve": BASE | {"settings", "judge"},  # its settings
    "records": set(),
    "progress": set(),
    "storage": {"errors"},
    "allocation": set(),
    "runs": {"errors", "records", "storage"},
    "builtin": set(),
    "data": BASE | {"builtin"},
    "measure": {"errors", "records"},
    "explain": BASE | {"measure"},
    "models": BASE | {"builtin", "data", "measure", "runs", "storage"},
    "generate": BASE | {"models", "measure"},
    "train": BASE | {"data", "models", "generate", "measure", "storage"},
    "study": BASE
    | {"settings", "data", "models", "generate", "train", "measure", "runs", "storage"}
    | {"explain"},
    "judge": BASE | {"data", "runs", "storage", "models", "generate", "written"},
    "report": BASE | {"measure", "runs", "storage"},
    "verbs": BASE
    | {"resolve", "settings", "data", "models", "train", "study", "report", "runs"}
    | {"storage", "explain"},
    "cli": BASE
    | {"resolve", "settings", "runs", "report", "measure", "verbs", "storage", "allocation"}
    | {"train", "models", "judge", "__init__"},
}
ONLY_IN = {
    "transformers": {"models", "generate", "train"},
    "accelerate": {"models", "study", "train"},
    "trl": set(),
    "peft": {"models", "train"},
    "openai": {"judge"},
    "sklearn": {"measure"},
    "sacrebleu": {"measure"},
    "lm_eval": {"study"},
    "typer": {"cli"},
    "matplotlib": {"report"},
}


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
            assert here not in {"report", "cli", "config", "records", "runs", "data", "resolve"}


def test_every_part_is_watched():
    assert {part(p) for p in FILES} - {"__init__", "__main__"} == set(ALLOWED)


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["config", "show", "train"]])
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
