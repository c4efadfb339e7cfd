"""`hyperfit study`: a plan of models, texts, methods and seeds, from nothing to one report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperfitting.cli.common import AsJson, Device, Overrides, layers, one_message, print_json

if TYPE_CHECKING:
    from hyperfitting.study.estimate import Estimated
    from hyperfitting.study.steps import Step


def study(
    plan: Annotated[
        str,
        typer.Argument(
            metavar="PLAN", help="A YAML file, or a plan by name: paper, real, builtin."
        ),
    ],
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder; default: study-PLAN. One that was begun is gone on with."),
    ] = None,
    parallel: Annotated[int | None, typer.Option(help="Steps that run side by side.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what is missing, with time, memory and disk."),
    ] = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Train, evaluate and explain what a plan lacks, and report it all; the same command goes on.

    Example: hyperfit study builtin --out grid

    What it would take: hyperfit study real --dry-run models=[builtin] seeds=[0,1]
    """
    with one_message():
        import shlex
        import sys

        from hyperfitting import verbs
        from hyperfitting.config.layers import read_config_file
        from hyperfitting.config.plan import named_plan, resolve_plan
        from hyperfitting.progress import ConsoleProgress

        path = Path(plan)
        base = read_config_file(path) if path.is_file() else named_plan(plan)
        flags = {"parallel": ("--parallel", parallel), "model.device": ("--device", device)}
        resolved = resolve_plan([base, *layers(None, flags, overrides)])
        folder, progress = out or Path(f"study-{path.stem}"), ConsoleProgress()
        command = shlex.join(["hyperfit", *sys.argv[1:]])
        show = (_print_json if as_json else _show) if dry_run else None
        written = verbs.study(resolved, folder, progress, command=command, show=show)
        if dry_run:
            return
        if as_json:
            from hyperfitting.records.record import as_json as mapping_of

            print_json(mapping_of(written.grid()))
        else:
            progress.say(f"\nstudy:  {written.path}\nreport: {written.report_file}")


WIDTH = 110  # columns that a plan takes; a narrow terminal wraps its lines


def _print_json(missing: "list[Step]", estimated: "Estimated") -> None:
    steps: list[dict[str, Any]] = []
    for step in missing:
        cost = estimated.costs.get(step.key)
        about = {} if cost is None else vars(cost)
        steps.append({"cell": step.cell, "step": step.name, "command": step.command(), **about})
    print_json({"steps": steps, "unknown": dict(estimated.unknown)})


def _show(missing: "list[Step]", estimated: "Estimated") -> None:
    """What is missing as a table on standard output, and what it comes to."""
    from rich.table import Table
    from rich.text import Text

    from hyperfitting.progress import in_bytes
    from hyperfitting.terminal import Terminal

    console, costs = Terminal(), estimated.costs
    if not missing:
        console.print("nothing is missing: every step is done")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for title in ("model and texts", "step"):
        table.add_column(title, no_wrap=True)
    for title in ("about", "memory", "disk"):
        table.add_column(title, justify="right", no_wrap=True)
    before = None
    for step in missing:
        cost = costs.get(step.key)
        about = ("–", "–", "–")
        if cost is not None:
            disk = in_bytes(cost.disk) if cost.disk else ""
            about = (_clock(cost.seconds), in_bytes(cost.memory), disk)
        table.add_row(Text("" if step.cell == before else step.cell), Text(step.name), *about)
        before = step.cell
    console.print(table, width=max(console.width, WIDTH), crop=False)
    seconds, disk = (sum(getattr(c, name) for c in costs.values()) for name in ("seconds", "disk"))
    console.print(
        f"\n{len(missing)} steps, about {_clock(seconds)} and {in_bytes(disk)} of disk; times are "
        "right to a factor of about two, and of trainings that may end early the most"
    )
    for model, why in estimated.unknown.items():
        console.print(Text(f"{model}: not estimated: {why}"), soft_wrap=True)
    first = missing[0].command()
    if first:
        console.print(Text(f"first: hyperfit {' '.join(first)}", style="dim"), soft_wrap=True)


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    if hours:
        return f"{hours} h {rest // 60:02} min"
    return f"{rest // 60} min {rest % 60:02} s" if rest >= 60 else f"{rest} s"
