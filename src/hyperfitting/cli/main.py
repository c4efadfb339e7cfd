"""The `hyperfit` command: one file per verb, listed here."""

import os

import typer

from hyperfitting import __version__
from hyperfitting.allocation import keep_large_buffers
from hyperfitting.cli import (
    compare,
    config,
    demo,
    diagnose,
    doctor,
    evaluate,
    explain,
    export,
    fix,
    generate,
    judge,
    report,
    study,
    train,
)
from hyperfitting.cli.common import write_line
from hyperfitting.cli.usage import Commands

app = typer.Typer(
    cls=Commands,
    help="Stop a causal language model from looping under greedy decoding, and show why it works.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit codes: 0 done, 2 wrong input, 1 an export that is not verified, a model that "
    "still loops (fix), texts with something to mend (doctor), disk or memory gave out, or a "
    "failure of ours, 130 interrupted, 143 terminated. Try: hyperfit demo",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        write_line(f"hyperfitting {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_show_version, is_eager=True
    ),
) -> None:
    """Options before the verb."""


app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("explain")(explain.explain)
app.command("study")(study.study)
app.command("judge")(judge.judge)
app.command("generate")(generate.generate)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("fix")(fix.fix)
app.command("export")(export.export)
app.command("diagnose")(diagnose.diagnose)
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")


def main() -> None:
    """Run the command line."""
    # Where another program uses a core too, threads that wait for each other in a busy loop made
    # torch 5 to 15 times slower; a short one costs nothing measurable. Read when torch loads.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    keep_large_buffers()
    app()
