"""Wrong commands and options, told as all other wrong input is."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from hyperfitting.cli.common import one_message
from hyperfitting.errors import InputError, nearest


class Commands(TyperGroup):
    """The verbs. What cannot be understood ends in one message, with what comes nearest to it."""

    def main(self, *args: Any, **given: Any) -> Any:
        """Run a command and end the program; or return what it returns (`standalone_mode`)."""
        is_alone = given.pop("standalone_mode", True)
        given["standalone_mode"] = False
        if not is_alone:
            return super().main(*args, **given)
        try:
            with one_message():
                code = self._run(*args, **given)
        except typer.Exit as end:
            code = end.exit_code
        sys.exit(code)

    def _run(self, *args: Any, **given: Any) -> Any:
        try:
            return super().main(*args, **given)
        except Exception as caught:
            error: Any = caught
            # Typer brings its own copy of click along, or not, by its version: told by their form.
            if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
                raise
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
                raise typer.Exit(error.exit_code) from None
            raise _told(error) from None


def _told(error: Any) -> InputError:
    """What is wrong with the words of a command line, how the command is used, and a hint."""
    context = getattr(error, "ctx", None)
    said, _, meant = error.format_message().partition(" Did you mean ")
    hint = f"did you mean {meant}" if meant else None
    if (option := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        said, hint = f"no such option: {option}", _nearest(option, context)
    said = said[0].lower() + said[1:].rstrip(".")
    if context is None:
        return InputError(said, hint=hint or "--help behind the command shows how it is used")
    path = context.command_path
    usage = " ".join(context.get_usage().split()).removeprefix("Usage: ")
    return InputError(f"{path}: {said}", needed=usage, hint=hint or f"{path} --help shows how")


def _nearest(option: str, context: Any) -> str | None:
    """The option or the setting of this command whose name is most similar."""
    from hyperfitting.config.describe import schema_of
    from hyperfitting.config.layers import leaf_fields

    names = {each: each for one in context.command.params for each in one.opts if each[:2] == "--"}
    try:
        settings = leaf_fields(schema_of(context.info_name))
    except InputError:  # a command without settings
        settings = iter(())
    for key, _ in settings:
        names.setdefault(f"--{key.rpartition('.')[2].replace('_', '-')}", f"{key}=VALUE")
    found = nearest(option, names)
    return f"did you mean {names[found]}?" if found else None
