"""`hyperfit config show`: the resolved settings and where each value comes from."""

from typing import Annotated, Any

import typer

from hyperfitting.cli.common import AsJson, ConfigFile, layers, one_message, print_json, write_line

app = typer.Typer(help="Look at settings.", no_args_is_help=True)


@app.callback()
def _config() -> None:
    """Look at settings."""


@app.command("show")
def show(
    verb: Annotated[
        str, typer.Argument(help="demo, train, evaluate, explain, generate, judge or report.")
    ] = "train",
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print every setting of a verb, its value, its source and what it means.

    Example: hyperfit config show train model.name=builtin train.method=full_sft
    """
    with one_message():
        from hyperfitting.config.resolve import describe

        rows = describe(verb, layers(config, {}, overrides))
        if as_json:
            print_json({row.key: {"value": row.value, "source": row.source} for row in rows})
            return
        width_key = max(len(row.key) for row in rows)
        width_value = max(len(_text(row.value)) for row in rows)
        for row in rows:
            write_line(
                f"{row.key:<{width_key}}  {_text(row.value):<{width_value}}  "
                f"({row.source}) {row.description}"
            )


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
