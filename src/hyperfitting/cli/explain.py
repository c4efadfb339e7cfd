"""`hyperfit explain`: run the controls that say what changed, where, and whether it is trivial."""

from pathlib import Path
from typing import Annotated

import typer

from hyperfitting.cli.common import (
    AsJson,
    ConfigFile,
    Device,
    TrustRemoteCode,
    layers,
    print_json,
    run_verb,
    split_folders,
)
from hyperfitting.cli.evaluate import Base, DataSource, TextField, Tuned, checkpoints_config


def explain(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]... [KEY=VALUE]...", help="Run or study folders."),
    ] = None,
    base: Base = None,
    tuned: Tuned = None,
    data: DataSource = None,
    text_field: TextField = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder; needed for several runs and for --tuned.")
    ] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say where a tuned model differs from its original, and test the simple explanations.

    Ranks of its words in the original, static bias with controls, geometry of every layer at three
    taps, block swap, kinds of tokens; written to explain/*.json.

    Example: hyperfit explain my-run swap_contexts=50
    Checkpoints of your own: hyperfit explain --base A --tuned B --data texts.jsonl --out study
    """

    def work() -> None:
        from hyperfitting import verbs
        from hyperfitting.cli.show import explanation_summary
        from hyperfitting.config import ExplainConfig, ReportConfig
        from hyperfitting.config.layers import build
        from hyperfitting.progress import ConsoleProgress

        flags = {
            "device": ("--device", device),
            "trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        progress = ConsoleProgress()
        if tuned is not None or base is not None:
            checkpoints, rest, place = checkpoints_config(
                runs, base, tuned, data, text_field, out, config, flags
            )
            settings = build(ExplainConfig, rest).config
            study = verbs.explain_checkpoints(checkpoints, settings, place, progress)
        else:
            folders, overrides = split_folders(runs or [])
            settings = build(ExplainConfig, layers(config, flags, overrides)).config
            study = verbs.explain(folders, settings, out, progress)
        if study.study_file.exists():
            verbs.report(study.path, ReportConfig(), progress)
        if as_json:
            print_json(verbs.explanation(study))
        else:
            explanation_summary(study)

    run_verb(work)
