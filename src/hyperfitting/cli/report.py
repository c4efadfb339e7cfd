"""`hyperfit report`: write the page, tables and figures again from a folder's files."""

from pathlib import Path
from typing import Annotated

import typer

from hyperfitting.cli.common import (
    AsJson,
    ConfigFile,
    layers,
    one_message,
    print_json,
    split_folders,
)


def report(
    studies: Annotated[
        list[str],
        typer.Argument(metavar="STUDY|KEY=VALUE", help="Evaluated run or study folders."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Also one page of all of them in this folder.", show_default=False),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild report/ of evaluated folders; needs no model.

    Example: hyperfit report hyperfit-demo num_examples=20

    Several on one page: hyperfit report study-a study-b --out together
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.config import ReportConfig
        from hyperfitting.config.layers import build
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.runs import StudyFolder

        folders, overrides = split_folders(studies)
        settings = build(ReportConfig, layers(config, {}, overrides)).config
        progress = ConsoleProgress()
        if out is None:
            written = [verbs.report(folder, settings, progress).report_file for folder in folders]
        else:
            together = verbs.report_together(folders, settings, out, progress)
            written = [*(StudyFolder(each).report_file for each in folders), together.report_file]
        if as_json:
            print_json({"reports": [str(path) for path in written]})
