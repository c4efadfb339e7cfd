"""Words that a command does not know are told as all wrong input is, with what comes nearest."""

import re

import pytest
import typer

from hyperfitting.cli.common import settings_among
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
    "train m --out": ("'--out' requires an argument", "--help behind the command"),
    "train m --out x --last-blocks three": ("invalid value for '--last-blocks'", "train --help"),
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
    assert rest[-1].startswith("  hint: ")
    assert hint in rest[-1]
    if "requires an argument" not in given:  # which is found before the command is known
        assert rest[0].startswith("  needed: ")


def test_a_long_setting_is_no_path():
    long = f"decoders={'min_p:0.1,' * 60}"
    assert settings_among(["run", long]) == [long]


def test_no_words_at_all_show_what_there_is():
    result = hyperfit()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr
    assert "error" not in result.stderr.split("Commands:")[0]


def test_a_program_gets_what_the_command_returns():
    """As completion in the shell asks; a wrong word is its own exception then."""
    assert COMMAND.main(["config", "show", "--help"], standalone_mode=False) == 0
    with pytest.raises(Exception, match="No such command"):
        COMMAND.main(["trian"], standalone_mode=False)


COMMAND = typer.main.get_command(app)
HELPS = {**COMMAND.commands, **COMMAND.commands["config"].commands}


@pytest.mark.parametrize("verb", HELPS)
def test_every_example_of_a_help_stands_alone(verb):
    """Click fills paragraphs: two lines of one paragraph become one command that nobody can run."""
    text = re.sub(r"`[^`]*`", "", HELPS[verb].help)
    for paragraph in text.split("\n\n"):
        assert paragraph.count(": hyperfit ") <= 1, paragraph
