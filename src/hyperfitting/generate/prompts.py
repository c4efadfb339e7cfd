"""The prompts that a user gives on the command line and in a file."""

from collections.abc import Sequence
from pathlib import Path

from hyperfitting.errors import InputError


def read_prompts(given: Sequence[str] | None, file: Path | None) -> list[str]:
    """Prompts from the command line and from a file with one a line; empty lines are left out.

    A line ends at a line feed, with or without a carriage return before it, and at nothing else.

    Raises:
        InputError: there are none, or the file cannot be read.
    """
    prompts = list(given or [])
    if file is not None:
        try:
            content = file.read_bytes().decode("utf-8-sig")  # without a byte order mark
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{file} cannot be read: {error}", needed="a text file in UTF-8"
            ) from error
        # Not splitlines: a prompt may hold U+2028 or a form feed.
        prompts += [line.removesuffix("\r") for line in content.split("\n")]
    kept = [prompt for prompt in prompts if prompt.strip()]
    if not kept:
        raise InputError("there is nothing to continue", needed="--prompt TEXT or --prompts FILE")
    for prompt in kept:
        if any("\ud800" <= c <= "\udfff" for c in prompt):  # bytes that are no UTF-8, too
            raise InputError(f"the prompt {prompt[:60]!r} is no text", needed="text in UTF-8")
    return kept
