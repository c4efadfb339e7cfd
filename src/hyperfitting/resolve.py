"""From defaults, presets, file, flags and `key=value` to one checked config.

Later layers win. Every leaf keeps the name of the layer that set it, which
`hyperfit config show` prints.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from hyperfitting.config import (
    DemoConfig,
    EvaluateConfig,
    ReportConfig,
    RunConfig,
    Section,
)
from hyperfitting.errors import InputError, did_you_mean, nearest
from hyperfitting.presets import BUILTIN_CORPORA, BUILTIN_DEFAULTS, DEMO_DEFAULTS, METHOD_DEFAULTS

ConfigT = TypeVar("ConfigT", bound=Section)


@dataclass(frozen=True)
class Layer:
    """Settings from one place; `leaves` maps dotted keys to values."""

    source: str
    leaves: Mapping[str, Any]


@dataclass(frozen=True)
class Resolved(Generic[ConfigT]):
    """A checked config and, for every dotted key, the source of its value."""

    config: ConfigT
    sources: Mapping[str, str]


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def leaf_fields(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted key and pydantic field of every setting in `schema`, in order."""
    for name, field in schema.model_fields.items():
        if _is_section(field):
            yield from leaf_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping to dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            leaves |= flatten(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys to a nested mapping."""
    nested: dict[str, Any] = {}
    for key, value in leaves.items():
        *path, last = key.split(".")
        level = nested
        for part in path:
            level = level.setdefault(part, {})
        level[last] = value
    return nested


def read_config_file(path: Path) -> Layer:
    """Settings of a YAML file; keys may be nested or dotted.

    Raises:
        InputError: missing or unreadable file, broken YAML, or no mapping at the top.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"config file {path} cannot be read: {error}", needed="a YAML file in UTF-8"
        ) from error
    except yaml.YAMLError as error:
        raise InputError(
            f"config file {path} is not valid YAML: {error}",
            needed="a mapping such as `train: {epochs: 20}`",
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"config file {path} holds {type(content).__name__}, not a mapping",
            needed="a mapping such as `train: {epochs: 20}`",
        )
    return Layer(f"file {path}", flatten(content))


def read_overrides(overrides: Sequence[str]) -> Layer:
    """Settings of `key=value` arguments; values are read as YAML.

    Raises:
        InputError: an argument without `=`, or a value that is not YAML.
    """
    leaves: dict[str, Any] = {}
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise InputError(
                f"override {item!r} is not of the form key=value",
                needed="for example train.epochs=20",
                hint="`hyperfit config show` lists the keys",
            )
        try:
            leaves[key] = yaml.safe_load(text) if text else None
        except yaml.YAMLError as error:
            raise InputError(
                f"the value of override {item!r} cannot be read", needed="a YAML value"
            ) from error
    return Layer("override", leaves)


def _check_keys(layers: Iterable[Layer], schema: type[Section]) -> None:
    known = [key for key, _ in leaf_fields(schema)]
    for layer in layers:
        for key in layer.leaves:
            if key in known:
                continue
            by_leaf = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
            match = by_leaf[0] if by_leaf else nearest(key, known)
            raise InputError(
                f"unknown setting {key!r} ({layer.source})",
                needed="a key that `hyperfit config show` lists",
                hint=f"did you mean {match!r}?" if match else None,
            )


def _allowed(key: str, schema: type[Section]) -> list[str]:
    """The words a setting accepts, where it accepts only certain words."""
    annotation = dict(leaf_fields(schema))[key].annotation
    arguments = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, str)]
    if not arguments:  # tuple[Literal[...], ...]
        for inner in getattr(annotation, "__args__", ()):
            arguments += [a for a in getattr(inner, "__args__", ()) if isinstance(a, str)]
    return arguments


def _explain(error: ValidationError, schema: type[Section], sources: Mapping[str, str]) -> InputError:
    """One message for the first thing pydantic objects to."""
    first = error.errors()[0]
    known = dict(leaf_fields(schema))
    parts = [str(part) for part in first["loc"]]
    while parts and ".".join(parts) not in known:
        parts.pop()
    key = ".".join(parts) or ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return InputError(f"setting {key!r} is missing", needed=known[key].description if key in known else None)
    value = first["input"]
    options = _allowed(key, schema) if key in known else []
    return InputError(
        f"setting {key!r} is {value!r} ({sources.get(key, 'default')})",
        needed=f"one of {', '.join(options)}" if options else first["msg"].lower(),
        hint=did_you_mean(str(value), options) if options else None,
    )


def build(schema: type[ConfigT], layers: Sequence[Layer]) -> Resolved[ConfigT]:
    """Merge `layers`, later ones winning, and check them against `schema`.

    Raises:
        InputError: an unknown key (names the nearest) or a value that is not accepted.
    """
    _check_keys(layers, schema)
    leaves: dict[str, Any] = {}
    sources = {key: "default" for key, _ in leaf_fields(schema)}
    for layer in layers:
        leaves |= layer.leaves
        sources |= dict.fromkeys(layer.leaves, layer.source)
    nested = {name: {} for name, field in schema.model_fields.items() if _is_section(field)}
    try:
        return Resolved(schema.model_validate(nested | nest(leaves)), sources)
    except ValidationError as error:
        raise _explain(error, schema, sources) from None


def _peek(layers: Sequence[Layer], key: str) -> Any:
    for layer in reversed(layers):
        if key in layer.leaves:
            return layer.leaves[key]
    return None


def _preset_layers(user: Sequence[Layer], method: Any) -> list[Layer]:
    """What the chosen method, model and corpus change about the plain defaults."""
    layers = []
    if method in METHOD_DEFAULTS:
        layers.append(Layer(f"default of {method}", flatten(METHOD_DEFAULTS[method])))
    if _peek(user, "model.name") == "builtin" and method in BUILTIN_DEFAULTS:
        layers.append(Layer("tuned for builtin", flatten(BUILTIN_DEFAULTS[method])))
    source = _peek(user, "data.source")
    if source in BUILTIN_CORPORA:
        layers.append(Layer(f"set for {source}", flatten(BUILTIN_CORPORA[source])))
    return layers


# Settings that a method would silently ignore.
NOT_FOR: Mapping[str, tuple[str, ...]] = {
    "full_sft": ("train.last_blocks", "train.lora.rank", "train.lora.alpha"),
    "full_lora": ("train.last_blocks",),
}


def resolve_run(user: Sequence[Layer]) -> Resolved[RunConfig]:
    """The config of `hyperfit train` from the user's layers, in rising priority.

    Raises:
        InputError: an unknown or missing setting, a value that is not accepted, or a setting
            the method would ignore.
    """
    method = _peek(user, "train.method")
    for layer in user:
        for key in NOT_FOR.get(method, ()):
            if key in layer.leaves:
                raise InputError(
                    f"setting {key!r} ({layer.source}) does not apply to {method}",
                    needed="another method, or without this setting",
                )
    return build(RunConfig, [*_preset_layers(user, method), *user])


def resolve_demo(user: Sequence[Layer]) -> Resolved[DemoConfig]:
    """The config of `hyperfit demo`; the values of each method stand in `demo_runs`.

    Raises:
        InputError: an unknown setting, a value that is not accepted, or a single method.
    """
    if _peek(user, "train.method") is not None:
        raise InputError(
            "setting 'train.method' does not apply to the demo, which runs several methods",
            needed="for example methods=[full_sft]",
        )
    user = [Layer("demo", flatten(DEMO_DEFAULTS)), *user]
    method = Layer("demo", {"train.method": "full_sft"})
    return build(DemoConfig, [*_preset_layers(user, None), method, *user])


def demo_runs(demo: DemoConfig, user: Sequence[Layer]) -> list[Resolved[RunConfig]]:
    """One run config per method of the demo, each with its own tuned values.

    What the user sets holds for every method it applies to.
    """
    shared = {key for key, _ in leaf_fields(RunConfig)}
    runs = []
    for method in demo.methods:
        known = shared - set(NOT_FOR.get(method, ()))
        layers = [
            Layer("demo", flatten(DEMO_DEFAULTS)),
            *user,
            Layer("demo", {"train.method": method}),
        ]
        kept = [
            Layer(layer.source, {key: layer.leaves[key] for key in layer.leaves if key in known})
            for layer in layers
        ]
        runs.append(resolve_run(kept))
    return runs


@dataclass(frozen=True)
class SettingRow:
    """One line of `hyperfit config show`; a required setting not given has the value None."""

    key: str
    value: Any
    source: str
    description: str


SCHEMAS: Mapping[str, type[Section]] = {
    "demo": DemoConfig,
    "train": RunConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
}


def describe(verb: str, user: Sequence[Layer]) -> list[SettingRow]:
    """Every setting of `verb` as the user's layers leave it.

    Raises:
        InputError: no such verb, an unknown key or a value that is not accepted.
    """
    if verb not in SCHEMAS:
        raise InputError(
            f"there are no settings for {verb!r}",
            needed=f"one of {', '.join(SCHEMAS)}",
            hint=did_you_mean(verb, SCHEMAS),
        )
    if verb == "demo":
        return _describe_demo(user)
    schema = SCHEMAS[verb]
    presets = _preset_layers(user, _peek(user, "train.method"))
    required = [key for key, field in leaf_fields(schema) if field.is_required()]
    missing = [key for key in required if _peek(user, key) is None]
    stand_in = Layer("", dict.fromkeys(missing, "-") | {"train.method": "full_sft"})
    stand_in = Layer("", {key: stand_in.leaves[key] for key in missing})
    rows = _setting_rows(schema, build(schema, [stand_in, *presets, *user]))
    return [
        SettingRow(row.key, None, "required, not given", row.description)
        if row.key in missing
        else row
        for row in rows
    ]


def _describe_demo(user: Sequence[Layer]) -> list[SettingRow]:
    """The demo's settings; those of training once per method, where methods differ."""
    demo = resolve_demo(user)
    methods = {
        run.config.train.method: {row.key: row for row in _setting_rows(RunConfig, run)}
        for run in demo_runs(demo.config, user)
    }
    rows = []
    for row in _setting_rows(DemoConfig, demo):
        if not row.key.startswith("train."):
            rows.append(row)
        elif row.key != "train.method":
            rows += [
                SettingRow(f"{row.key} ({name})", own[row.key].value, own[row.key].source, row.description)
                for name, own in methods.items()
                if row.key not in NOT_FOR.get(name, ())
            ]
    return rows


def _setting_rows(schema: type[Section], resolved: Resolved[Any]) -> list[SettingRow]:
    values = flatten(resolved.config.model_dump(mode="json"))
    return [
        SettingRow(key, values[key], resolved.sources[key], field.description or "")
        for key, field in leaf_fields(schema)
    ]
