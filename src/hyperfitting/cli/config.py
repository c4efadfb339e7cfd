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
        str, typer.Argument(metavar="VERB", help="A verb with settings, or study.")
    ] = "train",
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", show_default=False)
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print a file that --config reads.")
    ] = False,
) -> None:
    """Print every setting of a verb, its value, its source and what it means.

    Example: hyperfit config show train model.name=builtin train.method=full_sft

    A file to begin with: hyperfit config show train --yaml > run.yaml
    """
    with one_message():
        from hyperfitting.config import written_out
        from hyperfitting.config.describe import describe

        rows = describe(verb, layers(config, {}, overrides))
        if as_yaml:
            write_line(written_out.as_yaml(verb, rows).rstrip())
            return
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


@app.command("schema")
def schema(
    verb: Annotated[
        str, typer.Argument(metavar="VERB", help="A verb with settings, or study.")
    ] = "train",
) -> None:
    """Print the JSON schema of a verb's --config file, which editors complete and check by.

    Example: hyperfit config schema train > hyperfit-train.schema.json
    """
    with one_message():
        from hyperfitting.config.written_out import json_schema

        print_json(json_schema(verb))


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
