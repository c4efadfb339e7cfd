"""`hyperfit train`: one method, one model, one data set."""

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
    print_json,
    run_verb,
)


def train(
    model: Annotated[str, typer.Argument(help="builtin, a local folder or a hub id.")],
    out: Annotated[Path, typer.Option(help="New folder for the run.")],
    overrides: Overrides = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="builtin:fiction, builtin:news, a .jsonl/.csv/.parquet/.txt file, a folder of "
            "them, or a hub dataset id."
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="full_sft, full_lora or late_stage_lora.")
    ] = None,
    text_field: Annotated[str | None, typer.Option(help="Column with the text.")] = None,
    windows: Annotated[
        str | None, typer.Option(help="fixed (exact cuts) or documents (whole texts).")
    ] = None,
    loss_on: Annotated[
        str | None, typer.Option(help="Chat data: all tokens, or the assistant's only.")
    ] = None,
    last_blocks: Annotated[
        int | None, typer.Option(help="late_stage_lora: how many blocks train.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Order of the data, initial adapters.")] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on a small text set to near-zero loss.

    Example: hyperfit train ./my-model --data stories.jsonl --method late_stage_lora --out run
    """

    def work() -> None:
        from hyperfitting import verbs
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.resolve import resolve_run

        flags = {
            "model.name": ("MODEL", model),
            "data.source": ("--data", data),
            "train.method": ("--method", method),
            "data.text_field": ("--text-field", text_field),
            "data.windows": ("--windows", windows),
            "data.loss_on": ("--loss-on", loss_on),
            "train.last_blocks": ("--last-blocks", last_blocks),
            "train.seed": ("--seed", seed),
            "model.device": ("--device", device),
            "model.trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        resolved = resolve_run(layers(config, flags, overrides))
        progress = ConsoleProgress()
        run = verbs.train(resolved, out, progress)
        if as_json:
            print_json(run.manifest())
        else:
            progress.say(f"\nrun:    {run.path}\nresult: {run.result}")
            progress.say(f"next:   hyperfit evaluate {run.path}")

    run_verb(work)
