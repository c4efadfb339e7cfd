"""Layers of settings, merged and checked against a config class.

Later layers win. Every leaf keeps the name of the layer that set it, which
`hyperfit config show` prints. Knows no verb and no preset; `resolve.py` does.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from hyperfitting.config import Section
from hyperfitting.errors import InputError, did_you_mean, nearest
from hyperfitting.written import (
    MOST_CHARACTERS,
    ConstructorError,
    TextError,
    read_argument,
    read_yaml,
    settle,
)

QUOTE = "'"
LONGEST_SHOWN = 100  # characters of a value in a message
OVERRIDE = "override"  # source of `key=value` arguments
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


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The group of settings a field stands for, or None for a single setting."""
    kind: Any = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def leaf_fields(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted key and pydantic field of every setting in `schema`, in order."""
    for name, field in schema.model_fields.items():
        section = _section(field)
        if section:
            yield from leaf_fields(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mapping to dotted keys."""
    return dict(_leaves(settings))


def changed(before: BaseModel, after: BaseModel) -> dict[str, Any]:
    """The settings of `after` that are otherwise in `before`, by their dotted keys."""
    old, new = (flatten(each.model_dump(mode="json")) for each in (before, after))
    return {key: value for key, value in new.items() if old[key] != value}


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
        InputError: missing or unreadable file, broken YAML, no mapping at the top, or a setting
            that stands there twice.
    """
    try:
        with path.open(encoding="utf-8") as file:  # which may be a pipe that never ends
            content = read_yaml(file.read(MOST_CHARACTERS + 1))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"config file {path} cannot be read: {error}", needed="a YAML file in UTF-8"
        ) from error
    except TextError as error:
        raise InputError(
            f"config file {path} is not valid YAML: {error}",
            needed="a mapping such as `train: {epochs: 20}`",
        ) from error
    if not isinstance(content, dict):
        kind = "list" if isinstance(content, list) else "no settings"
        raise InputError(
            f"config file {path} holds {kind}, not a mapping",
            needed="a mapping such as `train: {epochs: 20}`",
        )
    leaves = list(_leaves(content))
    times = Counter(key for key, _ in leaves)
    if repeated := [key for key, count in times.items() if count > 1]:
        raise InputError(
            f"config file {path} sets {repeated[0]!r} twice: nested and with a dotted key",
            needed="each setting once",
        )
    return Layer(f"file {path}", dict(leaves))


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and not longer than one."""
    text = repr(value[: LONGEST_SHOWN + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _why(error: TextError) -> str:
    """What a limit says of a value; nothing of a syntax error, whose words are about YAML."""
    return f": {error.problem}" if isinstance(error, ConstructorError) else ""


def read_overrides(overrides: Sequence[str]) -> Layer:
    """Settings of `key=value` arguments, as `written.read_argument` reads values.

    Raises:
        InputError: an argument without `=`, a setting given twice, or a value that cannot be read.
    """
    leaves: dict[str, Any] = {}
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise InputError(
                f"override {shown(item)} is not of the form key=value",
                needed="for example train.epochs=20",
                hint="`hyperfit config show` lists the keys",
            )
        if key in leaves:
            raise InputError(
                f"override {shown(key)} is given twice: {shown(item)} is the second",
                needed="each setting once",
            )
        try:
            leaves[key] = read_argument(text)
        except TextError as error:
            raise InputError(
                f"the value of override {shown(item)} cannot be read{_why(error)}",
                needed="a text, a number, true, false, null, or a list such as [a, b]",
            ) from error
    return Layer(OVERRIDE, leaves)


def _check_keys(layers: Iterable[Layer], schema: type[Section]) -> None:
    known = [key for key, _ in leaf_fields(schema)]
    for layer in layers:
        for key in layer.leaves:
            if key in known:
                continue
            if group := [name for name in known if name.startswith(f"{key}.")]:
                raise InputError(
                    f"{key!r} is a group of settings, and is given one value ({layer.source})",
                    needed=f"settings in it, for example {group[0]}",
                )
            by_leaf = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
            match = by_leaf[0] if by_leaf else nearest(key, known)
            raise InputError(
                f"unknown setting {shown(key)} ({layer.source})",
                needed="a key that `hyperfit config show` lists",
                hint=f"did you mean {match!r}?" if match else None,
            )


def _allowed(error: Any, key: str, schema: type[Section]) -> list[str]:
    """The words a setting accepts, where it accepts only certain words."""
    if error["type"] == "unknown_name":  # of a table
        return list(error["ctx"]["options"])
    if error["type"] != "literal_error":
        return []
    annotation = dict(leaf_fields(schema))[key].annotation
    arguments = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, str)]
    if not arguments:  # tuple[Literal[...], ...]
        for inner in getattr(annotation, "__args__", ()):
            arguments += [a for a in getattr(inner, "__args__", ()) if isinstance(a, str)]
    return arguments


def _words_beside_numbers(field: FieldInfo | None) -> list[str]:
    """The words of a setting that also takes numbers."""
    members = get_args(field.annotation) if field else ()
    if not any(get_origin(member) is Annotated for member in members):
        return []
    return [w for m in members if get_origin(m) is Literal for w in get_args(m)]


def _explain(
    error: ValidationError, schema: type[Section], sources: Mapping[str, str]
) -> InputError:
    """One message for the first thing pydantic objects to."""
    first = error.errors()[0]
    known = dict(leaf_fields(schema))
    parts = [str(part) for part in first["loc"]]
    while parts and ".".join(parts) not in known:
        parts.pop()
    key = ".".join(parts) or ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return InputError(
            f"setting {key!r} is missing", needed=known[key].description if key in known else None
        )
    value = shown(first["input"])
    if first["type"] == "tuple_type":
        return InputError(
            f"setting {key!r} is {value}", needed=f"a list such as [{value.strip(QUOTE)}]"
        )
    reason = first["msg"].removeprefix("Value error, ").lower()
    options = _allowed(first, key, schema)
    if words := _words_beside_numbers(known.get(key)):
        reason += f", or {' or '.join(words)}"
    return InputError(
        f"setting {key!r} is {value} ({sources.get(key, 'default')})",
        needed=f"one of {', '.join(options)}" if options else reason,
        hint=did_you_mean(value.strip(QUOTE), options) if options else None,
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
    kinds = {key: field.annotation for key, field in leaf_fields(schema)}
    leaves = {key: settle(value, kinds[key]) for key, value in leaves.items()}
    nested: dict[str, Any] = {n: {} for n, f in schema.model_fields.items() if _section(f)}
    try:
        return Resolved(schema.model_validate(nested | nest(leaves)), sources)
    except ValidationError as error:
        raise _explain(error, schema, sources) from None


def peek(layers: Sequence[Layer], key: str) -> str | None:
    """The text the last layer with this key gives it, or None."""
    for layer in reversed(layers):
        if key in layer.leaves:
            value = settle(layer.leaves[key], str | None)
            return value if isinstance(value, str) else None  # `build` refuses anything else
    return None
