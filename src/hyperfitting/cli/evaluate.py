"""`hyperfit evaluate`: score runs beside the original model and the human text."""

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


def evaluate(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN... [KEY=VALUE]...", help="Run or study folders.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="New folder for the comparison; needed for several runs.")
    ] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Generate, measure and test; a lone run keeps the result in its own folder.

    Example: hyperfit evaluate run-a run-b --out comparison natural_tokens=128
    """

    def work() -> None:
        from hyperfitting import verbs
        from hyperfitting.cli.show import study_summary
        from hyperfitting.config import EvaluateConfig, ReportConfig
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.report.load import read_study
        from hyperfitting.settings import build
        from hyperfitting.storage import read_json

        folders, overrides = split_folders(runs)
        flags = {
            "device": ("--device", device),
            "trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        settings = build(EvaluateConfig, layers(config, flags, overrides)).config
        progress = ConsoleProgress()
        study = verbs.evaluate(folders, settings, out, progress)
        verbs.report(study.path, ReportConfig(), progress)
        if as_json:
            print_json(read_json(study.measurements_file))
        else:
            study_summary(study, read_study(study), progress.seconds)

    run_verb(work)
