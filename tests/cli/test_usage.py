"""Words that a command does not know are told as all wrong input is, with what comes nearest."""

import re

import pytest
import typer

from hyperfitting.cli.main import app
from tests.cli.test_cli import hyperfit

WRONG = {
    "trian": ("no such command 'trian'", "did you mean 'train'?"),
    "config shw": ("config: no such command 'shw'", "did you mean 'show'?"),
    "train m --dta x": ("train: no such option: --dta", "did you mean --data?"),
    "train m --epocs 3": ("no such option: --epocs", "did you mean train.epochs=VALUE?"),
    "evaluate r --natural-tokens 3": ("--natural-tokens", "did you mean natural_tokens=VALUE?"),
    "generate": ("generate: missing argument 'MODEL'", "generate --help"),
    "train m": ("train: missing option '--out'", "train --help"),
    "train m --out": ("'--out' requires an argument", None),
    "train m --out x --last-blocks three": ("invalid value for '--last-blocks'", None),
}


@pytest.mark.parametrize("words", WRONG)
def test_one_message_names_what_comes_nearest(words):
    given, hint = WRONG[words]
    result = hyperfit(*words.split())
    assert result.exit_code == 2
    first, *rest = result.stderr.splitlines()
    assert first.startswith("error: ")
    assert given in first
    assert result.stdout == ""
    if hint:
        assert rest[-1].startswith("  hint: ")
        assert hint in rest[-1]
        assert rest[0].startswith("  needed: ")


def test_no_words_at_all_show_what_there_is():
    result = hyperfit()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr
    assert "error" not in result.stderr.split("Commands:")[0]


COMMAND = typer.main.get_command(app)


@pytest.mark.parametrize("verb", COMMAND.commands)
def test_every_example_of_a_help_stands_alone(verb):
    """Click fills paragraphs: two lines of one paragraph become one command that nobody can run."""
    text = re.sub(r"`[^`]*`", "", COMMAND.commands[verb].help)
    for paragraph in text.split("\n\n"):
        assert paragraph.count(": hyperfit ") <= 1, paragraph
