"""`hyperfit judge`: let a language model compare the continuations of two arms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperfitting.cli.common import AsJson, ConfigFile, Overrides, layers, one_message, print_json

ROWS = {"winner": "Winner", "coherence": "Coherence", "diversity": "Diversity"}


def _rate(rate: Mapping[str, float | None]) -> str:
    if rate["percent"] is None:
        return "–"
    return f"{rate['percent']:.1f} [{rate['low']:.1f}, {rate['high']:.1f}]"


def _show(entry: Mapping[str, Any], swap_check: bool) -> None:
    """The comparison as a table on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hyperfitting.report.tables import p_text
    from hyperfitting.untrusted import printable

    console = Console(highlight=False)
    a, b = entry["a"]["arm"], entry["b"]["arm"]
    console.print(Text(printable(f"\n{a} against {b}, judged by {entry['judge']['model']}")))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("", "wins %", "losses %", "ties %", "p", "n"):
        table.add_column(title, justify="left" if not title else "right")
    for name, title in ROWS.items():
        row = entry[name]
        rates = [_rate(row[kind]) for kind in ("win_rate", "loss_rate", "tie_rate")]
        table.add_row(title, *rates, p_text(row["p"]), str(row["n"]))
    console.print(table)
    unusable = entry["unusable"]
    notes = [
        f"{entry['protocol']}; rates of {a} in percent of {entry['n']} valid pairs with exact "
        f"{entry['settings']['confidence']:.0%} intervals; p: two-sided sign test without ties",
        f"{unusable['pairs']} of {entry['pairs_chosen']} pairs left out",
    ]
    notes += [f"  {count} x {reason}" for reason, count in unusable["reasons"].items()]
    if entry["position_bias"]:
        notes.append(
            f"the verdict changes with the order in {_rate(entry['position_flip_rate'])} %"
        )
    if swap_check:
        notes.append(_swap_note(entry["position_bias"]))
    console.print(Text(printable("\n".join(notes)), style="dim"))


def _swap_note(bias: Mapping[str, Any]) -> str:
    from hyperfitting.report.tables import p_text

    return (
        f"position bias: of {bias['n']} pairs {bias['favour_first']} favour the text shown first "
        f"and {bias['favour_second']} the one shown second (p = {p_text(bias['p'])}); in "
        f"{bias['reversals']} each arm won in one of the two orders"
    )


def judge(
    study: Annotated[Path, typer.Argument(help="An evaluated study.")],
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
        entry = verbs.judge(study, settings, out, ConsoleProgress(), dry_run=dry_run)
        if entry is None:
            return
        if not entry["n"]:
            faults = entry["unusable"]["reasons"].items()
            raise InputError(
                f"no pair of {entry['pairs_chosen']} has a verdict: "
                + "; ".join(f"{count} x {reason}" for reason, count in faults),
                needed="a judge that answers as it is asked",
                hint=f"its answers are kept in {(out or study / 'judge') / 'answers.jsonl'}",
            )
        if as_json:
            print_json(entry)
        else:
            _show(entry, swap_check)
