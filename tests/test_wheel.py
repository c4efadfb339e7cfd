"""The wheel holds the built-in model, texts and templates, and its demo runs without a network."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A program that refuses every connection and then runs the command line.
OFFLINE = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the demo opened a network connection")
socket.socket.connect = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
import hyperfitting
assert sys.argv[1] in hyperfitting.__file__, hyperfitting.__file__
sys.argv = ["hyperfit", *sys.argv[2:]]
from hyperfitting.cli.main import main
main()
"""
SMALL = [
    "data.num_train=4",
    "data.num_heldout=4",
    "train.epochs=1",
    "monitor.every_epochs=0",
    "evaluate.natural_tokens=0",
    "evaluate.resamples=100",
    "data.continuation_tokens=24",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".*", "*.egg-info", "dist", "hyperfit-demo*")
    )
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


def test_everything_that_ships_is_inside(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    built_in = {
        p.relative_to(ROOT / "src").as_posix()
        for p in (ROOT / "src" / "hyperfitting").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert built_in <= names
    assert "hyperfitting/builtin/model/model.safetensors" in names
    assert "hyperfitting/py.typed" in names
    assert wheel.stat().st_size < 20 * 2**20


def test_the_installed_wheel_runs_the_demo_offline(wheel, tmp_path):
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:  # what an installer does with a pure wheel
        archive.extractall(target)
    command = [sys.executable, "-c", OFFLINE, str(target), "demo", "--json", *SMALL]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert {row["arm"] for row in json.loads(result.stdout)["rows"]} >= {"original", "hyperfitted"}
    assert (tmp_path / "hyperfit-demo" / "report" / "report.html").exists()


def test_the_refusal_of_connections_refuses():
    code = OFFLINE.split("import hyperfitting")[0] + "socket.getaddrinfo('localhost', 80)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "opened a network connection" in result.stderr
