"""`hyperfit generate`: continue prompts with any decoder of the table."""

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
from hyperfitting.generate.decoders import DECODERS


def generate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="builtin, a run, a folder of a model or adapter, a .gguf file or a hub id.",
        ),
    ],
    overrides: Overrides = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="A text to continue; may be repeated.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="File with one prompt a line.", show_default=False)
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            help=f"For example min_p:0.1 or top_p:0.9+temperature:0.7; {', '.join(DECODERS)}."
        ),
    ] = None,
    amateur: Annotated[
        str | None, typer.Option(help="Smaller model, for contrastive_decoding.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Factor of what was trained.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of decoders that draw.")] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Continue prompts. A text may end itself; `max_new_tokens` is the cap.

    Prints each prompt behind `> `, and below it how the model goes on; --json has all of it.

    Example: hyperfit generate my-run --decoder min_p:0.1 --prompt "The old bridge"
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.config import GenerateConfig
        from hyperfitting.config.layers import build
        from hyperfitting.generate.prompts import read_prompts
        from hyperfitting.progress import ConsoleProgress

        flags = {
            "model.name": ("MODEL", model),
            "decoder": ("--decoder", decoder),
            "amateur": ("--amateur", amateur),
            "strength": ("--strength", strength),
            "seed": ("--seed", seed),
            "model.device": ("--device", device),
            "model.trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        settings = build(GenerateConfig, layers(config, flags, overrides)).config
        given = read_prompts(prompt, prompts)
        texts = verbs.generate(given, settings, ConsoleProgress())
        if as_json:
            print_json({"decoder": settings.decoder, "texts": texts})
            return
        for text in texts:
            asked = "\n".join(f"> {line}" for line in text["prompt"].split("\n"))
            write_line(f"\n{asked}\n{text['continuation'].strip()}")
