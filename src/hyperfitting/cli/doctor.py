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
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Texts, as `hyperfit train --data` takes them.")
    ],
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
    refuses, and held-out texts that stand in training texts. Ends with 1 where there is something
    to mend.

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
        if _problems(found):
            raise typer.Exit(1)


def _show(found: "Examination") -> None:
    """Print findings, lengths and the command."""
    from rich.text import Text

    from hyperfitting.cli.show import print_findings
    from hyperfitting.progress import in_number
    from hyperfitting.terminal import Terminal

    console = Terminal()
    console.print()
    print_findings(console, found.findings)
    if (n := found.lengths) is not None:
        spread = f"{n.smallest:,} | {n.lower:,} {n.median:,} {n.upper:,} | {n.largest:,}"
        first = f"of the first {found.examined:,}, " if found.examined < found.texts else ""
        several = f"{first}tokens of a text, quartiles: {spread}"
        lengths = several if found.texts > 1 else f"{n.largest:,} tokens"
        console.print(Text(f"\n{in_number(found.texts, 'text')}; {lengths}"))
    problems = _problems(found)
    if found.command is None:
        said = f"{problems} to mend, before anything can be trained on these texts"
    else:
        head = f"{problems} to mend; " if problems else "nothing to mend; "
        said = f"{head}then: {found.command}"
    console.print(Text(f"\n{said}", style="bold"), soft_wrap=True)


def _problems(found: "Examination") -> int:
    return sum(each.level == "problem" for each in found.findings)
