"""`hyperfit doctor`: what is wrong with texts before a model is trained on them."""

from typing import TYPE_CHECKING, Annotated

import typer

from hyperfitting.cli.common import (
    AsJson,
    ConfigFile,
    Overrides,
    TrustRemoteCode,
    layers,
    one_message,
    print_json,
)

if TYPE_CHECKING:
    from hyperfitting.records.examined import Examination


def doctor(
    data: Annotated[str, typer.Argument(help="Texts, as `hyperfit train --data` takes them.")],
    overrides: Overrides = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model they are for: tokenizer and template count; default: builtin."
        ),
    ] = None,
    text_field: Annotated[
        str | None, typer.Option(help="Column with the text.", show_default=False)
    ] = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Look at texts before a model is trained on them, and say what to change, in commands.

    Encoding, entities, tags, boilerplate, duplicates, a csv file without header, lengths in tokens,
    ends in the labels, scripts that the tokenizer does not know, conversations that the template
    refuses, and held-out texts that stand in training texts.

    Example: hyperfit doctor stories.jsonl --model my-model
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.config.doctor import DoctorConfig
        from hyperfitting.config.layers import Layer
        from hyperfitting.config.resolve import resolve_texts
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.records.record import as_json as as_json_of

        flags = {
            "model.name": ("--model", model),
            "data.source": ("DATA", data),
            "data.text_field": ("--text-field", text_field),
            "model.trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        standard = Layer("default", {"model.name": "builtin"})
        given = [standard, *layers(config, flags, overrides)]
        settings = resolve_texts(DoctorConfig, given).config
        found = verbs.doctor(settings, ConsoleProgress())
        if as_json:
            print_json(as_json_of(found))
        else:
            _show(found)


def _show(found: "Examination") -> None:
    """Print findings, lengths and the command."""
    from rich.text import Text

    from hyperfitting.cli.show import print_findings
    from hyperfitting.terminal import Terminal

    console = Terminal()
    console.print()
    print_findings(console, found.findings)
    if (n := found.lengths) is not None:
        spread = f"{n.smallest:,} | {n.lower:,} {n.median:,} {n.upper:,} | {n.largest:,}"
        console.print(Text(f"\n{found.texts:,} texts; tokens of a text, quartiles: {spread}"))
    problems = sum(each.level == "problem" for each in found.findings)
    head = f"{problems} to mend; " if problems else "nothing to mend; "
    console.print(Text(f"\n{head}then: {found.command}", style="bold"), soft_wrap=True)
