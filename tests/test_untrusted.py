"""No control character of somebody else reaches the terminal, whoever prints."""

import ast
import io
import json
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from hyperfitting import progress
from hyperfitting.cli.common import one_message, print_json, write_line
from hyperfitting.errors import InputError
from hyperfitting.progress import ConsoleProgress
from hyperfitting.terminal import Terminal
from hyperfitting.untrusted import escaped, printable

SOURCE = Path(__file__).parent.parent / "src" / "hyperfitting"
# An escape sequence, a C1 control, bidirectional marks, half a character, a separator of lines.
ATTACK = "a\x1b[2J\x1b]0;title\x07\x9b31m\u202eb\u2066\ud800\u2028\x00c"
CLEAN = "a[2J]0;title31mbc"


def is_clean(text):
    return not set(ATTACK) - set("abc[]2J0;titlem31") & set(text)


def test_printable():
    assert printable(ATTACK) == CLEAN
    assert printable("plain, – ü 漢\n\ttext") == "plain, – ü 漢\n\ttext"


def test_escaped_json_holds_the_same_values():
    text = json.dumps({ATTACK: [ATTACK, "\U000e0001", "ü"]}, ensure_ascii=False, indent=1)
    assert is_clean(escaped(text))
    assert json.loads(escaped(text)) == json.loads(text)
    assert "ü" in escaped(text)


def test_a_table_and_a_note_are_clean():
    file = io.StringIO()
    table = Table(title=ATTACK)
    table.add_column(Text(ATTACK))
    table.add_row(ATTACK)
    Terminal(file).print(table, Text(ATTACK))
    assert is_clean(file.getvalue())
    assert CLEAN in file.getvalue()


def test_stages_are_clean_in_a_log_and_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1.0)
    shown = ConsoleProgress()
    with shown.stage(f"train {ATTACK}", 2) as stage:
        stage.update(1, ATTACK)
    shown.say(ATTACK)
    assert is_clean(capsys.readouterr().err)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    live = ConsoleProgress()
    live.console.file = io.StringIO()
    with live.stage(f"train {ATTACK}", 2) as stage:
        stage.update(1, ATTACK)
    assert live.console.is_terminal
    found = live.console.file.getvalue()
    assert "\x1b[" in found  # rich's own
    for sign in ("\x1b[2J", "\x1b]0", "\x07", "\x9b", "\u202e", "\u2066", "\ud800"):
        assert sign not in found


def test_errors_and_lines_and_json_are_clean(capsys):
    with pytest.raises(BaseException, match="2"), one_message():
        raise InputError(ATTACK.replace("\u2028", ""), needed=ATTACK, hint=ATTACK)
    write_line(ATTACK)
    print_json({"name": ATTACK})
    out, err = capsys.readouterr()
    assert is_clean(out)
    assert is_clean(err)
    assert err.startswith(f"error: {CLEAN}")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_printed_by_another_way(path):
    """rich's own console and print steer the terminal as a text says."""
    if path.name in ("terminal.py", "common.py", "entry.py"):  # the three that filter
        return
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert not calls & {"Console", "print", "typer.echo", "typer.secho", "click.echo",
                        "sys.stdout.write", "sys.stderr.write"}  # fmt: skip
