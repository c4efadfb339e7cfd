"""Settings as a file of the user's: a JSON schema that editors read, and YAML to begin with."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from hyperfitting.config.describe import REQUIRED, SettingRow, schema_of
from hyperfitting.config.layers import OVERRIDE, nest

BY_USER = (OVERRIDE, "file ")  # sources
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(verb: str) -> dict[str, Any]:
    """The JSON schema of a verb's --config file.

    Nothing is required in a file: flags and `key=value` may say the rest.

    Raises:
        InputError: no such verb.
    """
    schema = schema_of(verb).model_json_schema()
    found = _without_required(schema)
    return {"$schema": DIALECT, "title": f"hyperfit {verb} --config"} | {
        key: value for key, value in found.items() if key != "title"
    }


def _without_required(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {k: _without_required(v) for k, v in schema.items() if k != "required"}
    return [_without_required(each) for each in schema] if isinstance(schema, list) else schema


def schema_file(verb: str) -> str:
    """The name under which a written file looks for its schema."""
    return f"hyperfit-{verb}.schema.json"


def as_yaml(verb: str, rows: Sequence[SettingRow]) -> str:
    """The settings of `describe` as a --config file, with a header by which editors know them.

    Of the demo only what was given: the rest depends on the method, and a file holds for all.
    """
    is_demo = verb == "demo"
    shown = [row for row in rows if not is_demo or row.source.startswith(BY_USER)]
    given = {row.key.partition(" (")[0]: row.value for row in shown if row.source != REQUIRED}
    missing = [row.key for row in rows if row.source == REQUIRED]
    lines = [f"# yaml-language-server: $schema={schema_file(verb)}"]
    lines += [f"# of: hyperfit config schema {verb} > {schema_file(verb)}"]
    lines += [f"# not given: {key}" for key in missing]
    body = (
        yaml.safe_dump(nest(given), sort_keys=False, allow_unicode=True, width=100) if given else ""
    )
    return "\n".join(lines) + "\n" + body
