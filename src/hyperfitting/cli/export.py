"""`hyperfit export`: a run in another program's form, read back and compared with the run."""

from pathlib import Path
from typing import Annotated

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
    write_line,
)
from hyperfitting.errors import InputError


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    overrides: Overrides = None,
    format: Annotated[  # the option is called so
        str | None, typer.Option(help="adapter, merged, gguf, ollama or mlx.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New folder.", show_default=False)] = None,
    llama_cpp: Annotated[
        str | None,
        typer.Option(help="Folder of llama.cpp, whose converter is run.", show_default=False),
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Factor of what was trained.", show_default=False)
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            help="Compare this folder or GGUF file with the run, and write nothing.",
            show_default=False,
        ),
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(help="Repository, such as me/name.", show_default=False)
    ] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a run for other programs, read it back, and say whether it is still that run.

    Tokens, chat template, weights, logits, greedy texts and their ends are compared; export.json
    and the model card hold the figures. Ends with 1 where the export is not verified.

    Example: hyperfit export my-run --format merged --out exported

    For llama.cpp: hyperfit export my-run --format gguf --llama-cpp ~/llama.cpp --out exported

    A file that was made by hand: hyperfit export my-run --check model.gguf
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.config.export import ExportConfig
        from hyperfitting.config.layers import build
        from hyperfitting.export.words import summary, verdict
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.records.exported import ExportFile, Verification
        from hyperfitting.records.record import as_json as as_json_of
        from hyperfitting.records.record import read_file
        from hyperfitting.storage import read_json

        flags = {
            "format": ("--format", format),
            "llama_cpp": ("--llama-cpp", llama_cpp),
            "strength": ("--strength", strength),
            "push_to_hub": ("--push-to-hub", push_to_hub),
            "device": ("--device", device),
            "trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        settings = build(ExportConfig, layers(config, flags, overrides)).config
        found: Verification | None
        if check is not None and out is None:
            found = verbs.check_export(run, check, settings, ConsoleProgress())
            content, lines = as_json_of(found), [*verdict(found), f"export  {check}"]
        elif out is not None and check is None:
            folder = verbs.export(run, settings, out, ConsoleProgress())
            about = read_file(ExportFile, folder.record_file, "export again")
            content, lines = read_json(folder.record_file), summary(about, folder.path)
            found = about.verification
        else:
            raise InputError(
                "neither --out nor --check is given"
                if out is None
                else "both --out and --check are given",
                needed="--out with a new folder, or --check with what was exported",
            )
        if as_json:
            print_json(content)
        for line in [] if as_json else lines:
            write_line(line)
        if found is not None and not found.is_verified:
            raise typer.Exit(1)
