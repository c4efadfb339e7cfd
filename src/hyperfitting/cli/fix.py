"""`hyperfit fix`: from a looping model to one that does not loop, verified, in one command."""

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


def fix(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="builtin, a local folder, a .gguf file or a hub id."),
    ],
    overrides: Overrides = None,
    data: Annotated[
        str | None, typer.Option(help="Texts, as `hyperfit train` takes them.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder; one that was begun is gone on with.")] = Path(
        "fixed"
    ),
    text_field: Annotated[
        str | None, typer.Option(help="Column with the text.", show_default=False)
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="How it is trained; default: as `train`.")
    ] = None,
    format: Annotated[  # the option is called so
        str | None, typer.Option(help="adapter, merged, gguf, ollama or mlx.")
    ] = None,
    llama_cpp: Annotated[
        str | None,
        typer.Option(help="Folder of llama.cpp, for a GGUF file.", show_default=False),
    ] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Do the whole job: examine the texts, diagnose, train, measure, export, verify, report.

    Says at the start about what it will take, and at the end in three sentences what was gained,
    what was lost and where it is. Stopped at any moment, the same command goes on. Ends with 1
    where the export is not verified, or where more than one text in ten still loops.

    Example: hyperfit fix my-model --data stories.jsonl --out fixed
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.config.fix import FixConfig
        from hyperfitting.config.layers import build
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.records.fixed import FixFile
        from hyperfitting.records.record import read_file
        from hyperfitting.storage import read_json

        flags = {
            "model": ("MODEL", model),
            "data": ("--data", data),
            "text_field": ("--text-field", text_field),
            "method": ("--method", method),
            "format": ("--format", format),
            "llama_cpp": ("--llama-cpp", llama_cpp),
            "device": ("--device", device),
            "trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        settings = build(FixConfig, layers(config, flags, overrides)).config
        folder = verbs.fix(settings, out, ConsoleProgress())
        found = read_file(FixFile, folder.fix_file, "run the same command again")
        if as_json:
            print_json(read_json(folder.fix_file))
        else:
            write_line("")
            for sentence in found.sentences:
                write_line(sentence)
        if found.is_verified is False or found.still_loops:
            raise typer.Exit(1)
