"""`hyperfit explain`: run the controls that say what changed, where, and whether it is trivial."""

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

DataSource = Annotated[
    str | None,
    typer.Option(
        "--data", help="Texts, by default those of the runs; with --out.", show_default=False
    ),
]


def explain(
    runs: Folders = None,
    base: Base = None,
    tuned: Tuned = None,
    data: DataSource = None,
    text_field: TextField = None,
    out: Out = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Controls to run, such as lens,block_swap; by default all.", show_default=False
        ),
    ] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say where a tuned model differs from its original, and test the simple explanations.

    Ranks of its words in the original, static bias with controls, geometry of every layer at three
    taps, logit lens, hybrids of both models, kinds of tokens; written to explain/*.json. What is
    finished is kept when it is stopped: the same command goes on.

    Example: hyperfit explain my-run swap_contexts=50

    Some controls alone: hyperfit explain my-run --only lens,block_swap

    Checkpoints of your own: hyperfit explain --base A --tuned B --data texts.jsonl --out study
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.cli.show import explanation_summary
        from hyperfitting.config import ExplainConfig
        from hyperfitting.config.layers import build
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.storage import read_json

        flags = {
            "only": ("--only", only and only.split(",")),
            "device": ("--device", device),
            "trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        arguments = runs or []
        subject, own = read_subject(
            arguments, layers(config, flags, settings_among(arguments)),
            base=base, tuned=tuned, data=[] if data is None else [data],
            text_field=text_field, out=out,
        )  # fmt: skip
        settings, progress = build(ExplainConfig, own).config, ConsoleProgress()
        study = verbs.explain(subject, settings, out, progress)
        if study.study_file.exists():
            verbs.report(study.path, progress=progress)
        if as_json:
            print_json({path.stem: read_json(path) for path in study.explained_files()})
        else:
            explanation_summary(study)
