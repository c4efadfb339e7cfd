"""`hyperfit train`: one method, one model, one data set."""

import shlex
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
)
from hyperfitting.config.methods import METHODS

_METHODS = ", ".join(f"{name} ({method.label})" for name, method in METHODS.items())


def _which(setting: str) -> str:
    """The methods that a number of blocks is for."""
    return ", ".join(name for name, method in METHODS.items() if method.setting == setting)


def train(
    out: Annotated[Path, typer.Option(help="New folder for the run.")],
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="builtin, a local folder, a .gguf file or a hub id.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="builtin:fiction, builtin:news, a .jsonl/.csv/.parquet/.txt file, a folder of "
            "them, or a hub dataset id."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help=f"What trains: {_METHODS}."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="paper (260 epochs) or carlsson (20, small rate).")
    ] = None,
    text_field: Annotated[str | None, typer.Option(help="Column with the text.")] = None,
    windows: Annotated[
        str | None, typer.Option(help="fixed (exact cuts) or documents (whole texts).")
    ] = None,
    loss_on: Annotated[
        str | None, typer.Option(help="Chat data: all tokens, or the assistant's only.")
    ] = None,
    last_blocks: Annotated[
        int | None, typer.Option(help=f"How many blocks train: {_which('last_blocks')}.")
    ] = None,
    first_blocks: Annotated[
        int | None, typer.Option(help=f"How many blocks train: {_which('first_blocks')}.")
    ] = None,
    prefix_cache: Annotated[
        str | None,
        typer.Option(help="Late-stage methods: auto, gpu, ram, disk or off."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard, wandb, mlflow or trackio; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seed: Annotated[int | None, typer.Option(help="Order of the data, initial adapters.")] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on a small text set to near-zero loss.

    Example: hyperfit train ./my-model --data stories.jsonl --out run

    Go on after a stop: hyperfit train --resume --out run
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.config.layers import peek
        from hyperfitting.config.resolve import METHOD, preset_layer, resolve_run, resumed_layer
        from hyperfitting.errors import InputError
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.records.record import as_json as mapping_of
        from hyperfitting.runs import RunFolder

        flags = {
            "model.name": ("MODEL", model),
            "data.source": ("--data", data),
            "train.method": ("--method", method),
            "data.text_field": ("--text-field", text_field),
            "data.windows": ("--windows", windows),
            "data.loss_on": ("--loss-on", loss_on),
            "train.last_blocks": ("--last-blocks", last_blocks),
            "train.first_blocks": ("--first-blocks", first_blocks),
            "train.prefix_cache.place": ("--prefix-cache", prefix_cache),
            "monitor.track": ("--track", track),
            "train.seed": ("--seed", seed),
            "model.device": ("--device", device),
            "model.trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        # Without MODEL, as with --resume, a first setting stands in its place.
        settings = list(overrides or [])
        if model and "=" in model and not Path(model).exists():
            settings.insert(0, model)
            del flags["model.name"]
        before = RunFolder(out).started() if resume else None
        if resume and before is None and data is None and config is None:
            raise InputError(
                f"{out} holds no run to resume: there is no manifest.json",
                needed="the folder of a run that was started, or all settings of a new one",
            )
        base = [resumed_layer(before.config)] if before else []
        given = layers(config, flags, settings)
        chosen = peek([*base, *given], METHOD)
        resolved = resolve_run([*base, *preset_layer(preset, chosen), *given])
        progress = ConsoleProgress()
        run = verbs.train(resolved.config, out, progress, sources=resolved.sources, resume=resume)
        if as_json:
            print_json(mapping_of(run.manifest()))
        else:
            progress.say(f"\nrun:    {run.path}\nresult: {run.result}")
            progress.say(f"next:   hyperfit evaluate {shlex.quote(str(run.path))}")
