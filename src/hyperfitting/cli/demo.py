"""`hyperfit demo`: the main job on built-in texts."""

from pathlib import Path
from typing import Annotated

import typer

from hyperfitting.cli.common import (
    AsJson,
    ConfigFile,
    Device,
    Overrides,
    layers,
    one_message,
    print_json,
)

# The built-in model is a laboratory animal; this is how people will use it.
NEXT = (
    "next    a real model: make demo-real (SmolLM2-135M, a download of 98 MB), or\n"
    "        hyperfit train FOLDER_OR_HUB_ID --data builtin:fiction --out run"
)


def demo(
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New folder, or that of a demo that was stopped; default: hyperfit-demo, "
            "then hyperfit-demo-2, ..."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Training seed; default 0.")] = None,
    device: Device = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a looping model stop looping: built-in model and texts, no network, no GPU.

    Stopped, the same command goes on.

    Example: hyperfit demo --out my-demo data.source=builtin:news
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.begun import place
        from hyperfitting.cli.show import demo_opening, study_summary
        from hyperfitting.config.demo import resolve_demo
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.report.load import read_study
        from hyperfitting.storage import read_json

        flags = {"train.seed": ("--seed", seed), "model.device": ("--device", device)}
        resolved = resolve_demo(layers(config, flags, overrides))
        progress = ConsoleProgress()
        demo_opening(progress, resolved.config)
        out = out or place("hyperfit-demo", resolved.config)
        study = verbs.demo(resolved.config, out, progress, sources=resolved.sources)
        if as_json:
            print_json(read_json(study.measurements_file))
        else:
            study_summary(study, read_study(study), progress.seconds)
            progress.say(NEXT)
