"""`hyperfit evaluate`: score tuned models beside their original and the human text."""

from typing import Annotated

import typer

from hyperfitting.cli.common import (
    AsJson,
    ConfigFile,
    Device,
    TrustRemoteCode,
    layers,
    one_message,
    print_json,
    settings_among,
)
from hyperfitting.cli.subject import Base, Folders, Out, TextField, Tuned, read_subject

DataSources = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Texts, by default those of the runs; several compare domains.",
        show_default=False,
    ),
]


def evaluate(
    runs: Folders = None,
    base: Base = None,
    tuned: Tuned = None,
    data: DataSources = None,
    text_field: TextField = None,
    strengths: Annotated[
        str | None,
        typer.Option(help="Of what was tuned, for example 0.25,0.5,1.5.", show_default=False),
    ] = None,
    at_loss: Annotated[
        str | None,
        typer.Option(help="Also checkpoints kept at, for example 1.0,0.5.", show_default=False),
    ] = None,
    decoders: Annotated[
        str | None,
        typer.Option(help="Beside greedy, for example min_p:0.1,guard.", show_default=False),
    ] = None,
    mauve_features: Annotated[
        str | None,
        typer.Option(help="MAUVE's model: gpt2-large, a folder, builtin.", show_default=False),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Tasks of lm-evaluation-harness, for example arc_easy or my-task.yaml.",
            show_default=False,
        ),
    ] = None,
    out: Out = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Generate, measure and test; a lone run keeps the result in its own folder.

    Example: hyperfit evaluate run-a run-b --out comparison natural_tokens=128

    Other decoders and texts: hyperfit evaluate my-run --decoders min_p,guard --data ag_news

    Checkpoints of your own: hyperfit evaluate --base A --tuned B --data texts.jsonl --out study
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.cli.show import study_summary
        from hyperfitting.config import EvaluateConfig
        from hyperfitting.config.layers import build
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.report.load import read_study
        from hyperfitting.storage import read_json

        flags = {
            "device": ("--device", device),
            "trust_remote_code": ("--trust-remote-code", trust_remote_code),
            "strengths": ("--strengths", strengths and strengths.split(",")),
            "at_loss": ("--at-loss", at_loss and at_loss.split(",")),
            "decoders": ("--decoders", decoders),
            "mauve_features": ("--mauve-features", mauve_features),
            "tasks": ("--tasks", tasks),
        }
        arguments = runs or []
        subject, own = read_subject(
            arguments, layers(config, flags, settings_among(arguments)),
            base=base, tuned=tuned, data=data or [], text_field=text_field, out=out,
        )  # fmt: skip
        settings, progress = build(EvaluateConfig, own).config, ConsoleProgress()
        study = verbs.evaluate(subject, settings, out, progress)
        verbs.report(study.path, progress=progress)
        if as_json:
            print_json(read_json(study.measurements_file))
        else:
            study_summary(study, read_study(study), progress.seconds)
