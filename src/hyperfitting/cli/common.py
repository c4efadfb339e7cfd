"""What every command shares: options, layers of settings, and how failures end.

Loads no torch: a command imports its verb when it runs.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperfitting.config.layers import Layer, read_config_file, read_overrides
from hyperfitting.errors import InputError, SaidError, StoppedError
from hyperfitting.faults import message_of
from hyperfitting.interrupts import exit_code
from hyperfitting.untrusted import escaped, printable

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings, as `hyperfit config show` lists them.",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file with settings.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default=False)]
TrustRemoteCode = Annotated[
    bool | None,
    typer.Option(
        "--trust-remote-code", help="Run code the model brings along.", show_default=False
    ),
]


def layers(
    config_file: Path | None,
    flags: Mapping[str, tuple[str, Any]],
    overrides: Sequence[str] | None,
) -> list[Layer]:
    """The user's settings in rising priority: file, flags, `key=value`.

    `flags` maps a setting's key to the flag's name and value; None was not given.
    """
    found = [read_config_file(config_file)] if config_file else []
    for key, (flag, value) in flags.items():
        if value is not None:
            found.append(Layer(f"flag {flag}", {key: value}))
    if overrides:
        found.append(read_overrides(overrides))
    return found


def settings_among(arguments: Sequence[str]) -> list[str]:
    """The `key=value` among mixed arguments; an existing path is a folder."""
    return [a for a in arguments if "=" in a and not _exists(a)]


def _exists(name: str) -> bool:
    """Whether there is such a path; a long setting is too long for the name of one."""
    try:
        return Path(name).exists()
    except OSError:
        return False


def split_folders(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Tell folders from `key=value` among mixed arguments.

    Raises:
        InputError: there is no folder.
    """
    overrides = settings_among(arguments)
    folders = [Path(a) for a in arguments if a not in overrides]
    if not folders:
        raise InputError("no folder is given", needed="a run or a study, for example my-run")
    return folders, overrides


def write_line(text: str, *, is_error: bool = False) -> None:
    """A line of text, which may be untrusted, on standard output or on standard error."""
    typer.echo(printable(text), err=is_error)


@contextmanager
def one_message() -> Iterator[None]:
    """Wrong input, Ctrl-C, SIGTERM and faults of the machine end the program with one message."""
    try:
        yield
        sys.stdout.flush()
    except StoppedError as stop:
        write_line(str(stop), is_error=True)
        raise typer.Exit(exit_code()) from None
    except KeyboardInterrupt:
        write_line("interrupted; what was written so far stays as it is", is_error=True)
        raise typer.Exit(exit_code()) from None
    except typer.Exit:
        raise
    except Exception as error:
        told = message_of(error) or error  # a refusal may only repeat what the machine did
        if not isinstance(told, SaidError):
            raise
        first, *rest = str(told).splitlines()
        write_line(f"error: {first}", is_error=True)
        for line in rest:
            write_line(f"  {line}", is_error=True)
        raise typer.Exit(told.exit_code) from None


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on standard output; control characters as escapes, which are the same."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(escaped(text) + "\n")
