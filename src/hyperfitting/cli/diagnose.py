"""`hyperfit diagnose`: why a model loops, and the cheapest thing that would help."""

from typing import TYPE_CHECKING, Annotated

import typer

from hyperfitting.cli.common import (
    AsJson,
    ConfigFile,
    Device,
    Overrides,
    TrustRemoteCode,
    layers,
    one_message,
    print_json,
)

if TYPE_CHECKING:
    from hyperfitting.records.diagnosed import Diagnosis


def diagnose(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="builtin, a run, a local folder, a .gguf file or a hub id."
        ),
    ],
    overrides: Overrides = None,
    data: Annotated[
        str | None, typer.Option(help="Texts to go on with; default: builtin:fiction.")
    ] = None,
    text_field: Annotated[
        str | None, typer.Option(help="Column with the text.", show_default=False)
    ] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Find out why a model loops and what would help, in minutes; nothing is trained.

    Ends and chat template, loops after texts and through the template, float32 against bfloat16,
    eleven decoders, and whether it looks hyperfitted already.

    Example: hyperfit diagnose my-model --data texts.jsonl

    In half a minute: hyperfit diagnose my-model contexts=8 decoders= precision=false
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.config.diagnose import USUAL, DiagnoseConfig
        from hyperfitting.config.layers import Layer
        from hyperfitting.config.resolve import resolve_texts
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.records.record import as_json as as_json_of

        flags = {
            "model.name": ("MODEL", model),
            "data.source": ("--data", data),
            "data.text_field": ("--text-field", text_field),
            "model.device": ("--device", device),
            "model.trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        standard = Layer("default", {"data.source": "builtin:fiction"})
        given = [standard, *layers(config, flags, overrides)]
        settings = resolve_texts(DiagnoseConfig, given).config
        progress = ConsoleProgress()
        if settings.decoders == USUAL:
            progress.say("faster: contexts=8, decoders=dry,min_p (two of ten), decoders= (none)")
        found = verbs.diagnose(settings, progress)
        if as_json:
            print_json(as_json_of(found))
        else:
            _show(found)


def _show(found: "Diagnosis") -> None:
    """Print findings, decoders in a table, and the advice."""
    from rich.table import Table
    from rich.text import Text

    from hyperfitting.cli.show import print_findings
    from hyperfitting.report.tables import estimate
    from hyperfitting.terminal import Terminal

    console = Terminal()
    width = min(console.width, 110)
    console.print()
    print_findings(console, found.findings)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    names = ("decoder", "draws", "loops", "TTR", "nats a token", "broken words", "ms")
    for name in names:
        table.add_column(name, justify="left" if name == "decoder" else "right")
    read = found.reading
    human = (read.human_ttr, read.human_coherence, read.human_nonwords)
    ttr, coherence, words = (
        estimate(each, n).value for each, n in zip(human, (2, 2, 3), strict=True)
    )
    table.add_row("human text", "", "", ttr, coherence, words, "")
    for one in found.tried:
        shares = (estimate(one.looped, 2), estimate(one.ttr, 2), estimate(one.coherence, 2))
        table.add_row(
            Text(one.decoder), "" if one.is_deterministic else "yes",
            *(cell.value for cell in shares), estimate(one.nonwords).value,
            f"{one.milliseconds:.1f}",
        )  # fmt: skip
    console.print()
    console.print(table, width=width)
    console.print(
        Text(f"\nn = {found.contexts} texts of {found.texts}, {found.tokens} tokens each; nats a "
             "token: log-likelihood under the model itself, nearer to human text is better",
             style="dim"),
        width=width,
    )  # fmt: skip
    console.print(Text(f"\n{found.advice}", style="bold"), width=width)
