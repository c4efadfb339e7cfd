"""`hyperfit judge`: let a language model compare the continuations of two arms."""

from pathlib import Path
from typing import Annotated

import typer

from hyperfitting.cli.common import AsJson, ConfigFile, Overrides, layers, one_message, print_json
from hyperfitting.records.judged import Judgement, PositionBias, Rate


def _rate(rate: Rate) -> str:
    if rate.percent is None:
        return "–"
    return f"{rate.percent:.1f} [{rate.low:.1f}, {rate.high:.1f}]"


def _show(judgement: Judgement, swap_check: bool) -> None:
    """The comparison as a table on standard output."""
    from rich.table import Table
    from rich.text import Text

    from hyperfitting.report.tables import p_text
    from hyperfitting.terminal import Terminal

    console = Terminal()
    a, b = judgement.a.arm.name, judgement.b.arm.name
    console.print(Text(f"\n{a} against {b}, judged by {judgement.judge.model}"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("", "wins %", "losses %", "ties %", "p", "n"):
        table.add_column(title, justify="left" if not title else "right")
    for name, outcome in judgement.questions.items():
        rates = map(_rate, outcome.rates)
        table.add_row(name.capitalize(), *rates, p_text(outcome.p), str(outcome.n))
    console.print(table)
    unusable = judgement.unusable
    notes = [
        f"{judgement.protocol}; rates of {a} in percent of {judgement.n} valid pairs with exact "
        f"{judgement.settings['confidence']:.0%} intervals; p: two-sided sign test without ties",
        f"{unusable.pairs} of {judgement.pairs_chosen} pairs left out",
    ]
    notes += [f"  {count} x {reason}" for reason, count in unusable.reasons.items()]
    if judgement.position_bias:
        notes.append(
            f"the verdict changes with the order in {_rate(judgement.position_flip_rate)} %"
        )
        if swap_check:
            notes.append(_swap_note(judgement.position_bias))
    console.print(Text("\n".join(notes), style="dim"))


def _swap_note(bias: PositionBias) -> str:
    from hyperfitting.report.tables import p_text

    return (
        f"position bias: of {bias.n} pairs {bias.favour_first} favour the text shown first "
        f"and {bias.favour_second} the one shown second (p = {p_text(bias.p)}); in "
        f"{bias.reversals} each arm won in one of the two orders"
    )


def judge(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="An evaluated study.")],
    overrides: Overrides = None,
    a: Annotated[str | None, typer.Option("--a", help="Arm whose rates are given.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="Arm it is compared with.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Base URL of an OpenAI-compatible server.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The judge's name there, or a folder with local=true.")
    ] = None,
    pairs: Annotated[int | None, typer.Option(help="Pairs to ask about.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the answers; default: judge in the study.")
    ] = None,
    swap_check: Annotated[
        bool, typer.Option("--swap-check", help="Report the judge's position bias.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the estimate and ask nothing.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask a judge which arm continues better; the same command goes on after a stop.

    The API key is read from the environment variable OPENAI_API_KEY (api_key_env=NAME).

    Example: hyperfit judge my-study --a late_stage_lora --b full_lora
    --endpoint http://localhost:8000/v1 --model NAME --pairs 200
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.config.judge import JudgeConfig
        from hyperfitting.config.layers import build
        from hyperfitting.errors import InputError
        from hyperfitting.progress import ConsoleProgress
        from hyperfitting.records.record import as_json as mapping_of
        from hyperfitting.runs import JudgeFolder, StudyFolder

        flags = {
            "a": ("--a", a),
            "b": ("--b", b),
            "endpoint": ("--endpoint", endpoint),
            "model": ("--model", model),
            "pairs": ("--pairs", pairs),
        }
        settings = build(JudgeConfig, layers(config, flags, overrides)).config
        if swap_check and settings.orders == "single":
            raise InputError("--swap-check with orders=single", needed="orders=both")
        judgement = verbs.judge(study, settings, out, ConsoleProgress(), dry_run=dry_run)
        if judgement is None:
            return
        if not judgement.n:
            faults = judgement.unusable.reasons.items()
            folder = StudyFolder(study).judge if out is None else JudgeFolder(out)
            raise InputError(
                f"no pair of {judgement.pairs_chosen} has a verdict: "
                + "; ".join(f"{count} x {reason}" for reason, count in faults),
                needed="a judge that answers as it is asked",
                hint=f"its answers are kept in {folder.answers_file}",
            )
        if as_json:
            print_json(mapping_of(judgement))
        else:
            _show(judgement, swap_check)
