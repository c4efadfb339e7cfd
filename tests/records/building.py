"""Random records from their annotations alone, and the names of everything that they need."""

import importlib
import pkgutil
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from hypothesis import reject
from hypothesis import strategies as st
from pydantic import ValidationError

import hyperfitting.records
from hyperfitting.config import ModelConfig
from hyperfitting.judge.store import Answer
from hyperfitting.records import Arm, Generation, Measurement, MonitorRow, PairedTest
from hyperfitting.records.controls.provenance import Histogram
from hyperfitting.records.manifest import WINDOWS, RunManifest, RunSettings, TrainingOutcome
from hyperfitting.records.record import (
    FileRecord,
    Name,
    OfArm,
    PathInside,
    Record,
    RelativePath,
    as_json,
)

ROWS = [Answer, Generation, Measurement, MonitorRow, PairedTest]  # lines of files, no records
NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
WHOLE = st.integers(-(2**53), 2**53)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=6)
PLAIN = st.none() | st.booleans() | WHOLE | NUMBERS | TEXTS
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
SIMPLE = {int: WHOLE, float: NUMBERS, str: TEXTS, bool: st.booleans(), Any: JSON,
          type(None): st.none()}  # fmt: skip


def kinds():
    """Every record of the package, whoever wrote it."""
    for module in pkgutil.walk_packages(hyperfitting.records.__path__, "hyperfitting.records."):
        importlib.import_module(module.name)
    found, todo = {}, [Record]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        is_generic = kind.__pydantic_generic_metadata__["parameters"]
        if kind.__module__.startswith("hyperfitting.records.") and not is_generic:
            found[kind.__qualname__] = kind
    return [*found.values(), *ROWS]


class Field(NamedTuple):
    """A field of a record: what it may hold, what the file calls it, and whether it is needed."""

    name: str
    key: str
    annotation: Any
    is_required: bool


def is_record(kind):
    return isinstance(kind, type) and (issubclass(kind, Record) or is_dataclass(kind))


def _whole(field):
    """The annotation of a field with what pydantic took off it."""
    of_paths = [t for t in (Name, PathInside, RelativePath) if t.__metadata__[0] in field.metadata]
    return of_paths[0] if of_paths else field.annotation


def fields_of(kind):
    if issubclass(kind, Record):
        return [
            Field(name, field.serialization_alias or field.alias or name, _whole(field),
                  field.is_required())
            for name, field in kind.model_fields.items()
        ]  # fmt: skip
    hints = get_type_hints(kind, include_extras=True)
    return [
        Field(f.name, f.name, hints[f.name], f.default is f.default_factory is MISSING)
        for f in fields(kind)
    ]


@st.composite
def arms(draw):
    """Arms of every kind: trained, decoded, sampled, matched."""
    parameter = PLAIN | st.lists(PLAIN, max_size=2)
    arm = Arm.named(
        draw(st.sampled_from(["human", "original", "full_lora", "late_stage_lora"])),
        draw(st.none() | st.integers(0, 9)),
        draw(st.dictionaries(NAMES, parameter, max_size=2)),
    )
    how = draw(st.sampled_from(["greedy", "sampled", "decoded", "matched"]))
    if how == "matched":
        arm = Arm("original").matched(arm)
    return arm.sampled() if how == "sampled" else arm.decoded("top_p") if how == "decoded" else arm


def values(annotation):
    """What a field of this annotation may hold."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in (Name, PathInside, RelativePath):
        return NAMES.map("a{}".format)  # begins with a letter
    if origin is Annotated:
        return values(inner[0])
    if annotation in SIMPLE:
        return SIMPLE[annotation]
    if annotation is Arm:
        return arms()
    if annotation is ModelConfig:
        return NAMES.map(lambda name: ModelConfig(name=f"m{name}"))
    if is_record(annotation):
        return records(annotation)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values, inner))
    if origin is list:
        return st.lists(values(inner[0]), max_size=2)
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        keys = NAMES if inner[0] is str else values(inner[0])
        return st.dictionaries(keys, values(inner[1]), max_size=2)
    raise TypeError(f"nothing is known of {annotation}: a field that no file can hold?")


@st.composite
def records(draw, kind):
    """A record of this kind; what its own rules refuse is drawn again."""
    content = {field.name: draw(values(field.annotation)) for field in fields_of(kind)}
    if kind is Histogram:  # an edge more than counts
        content["counts"] = draw(st.lists(WHOLE, min_size=1, max_size=2))
        size = len(content["counts"]) + 1
        content["edges"] = draw(st.lists(WHOLE, min_size=size, max_size=size))
    if kind is RunManifest:  # its rules name what later stages need
        content["config"] = as_json(draw(records(RunSettings)))
        content["data_account"][WINDOWS] = draw(WHOLE)
        content["template_date"] = draw(st.none() | st.dates().map(str))
        content["training"] = content["training"] or draw(records(TrainingOutcome))
    if issubclass(kind, FileRecord):
        content["version"] = kind.VERSION
    try:
        return kind(**content)
    except ValidationError:
        reject()


class Place(NamedTuple):
    """A field somewhere in a file: its full name, and the mapping that holds it."""

    path: str
    steps: tuple[Any, ...]
    field: Field


def places(kind, content, path="", steps=()):
    """Every field of a record and of the records inside it, as `content` holds them."""
    for field in fields_of(kind):
        here, own = f"{path}{field.key}", (*steps, field.key)
        if field.annotation is Arm:
            is_among_others = issubclass(kind, OfArm) and field.key == "arm"
            start, before = (path, steps) if is_among_others else (f"{here}.", own)
            for key in ("arm", "seed", "parameters"):
                yield Place(f"{start}{key}", (*before, key), Field(key, key, None, True))
            continue
        if field.key not in content:  # one that is left out where it is None
            continue
        yield Place(here, own, field)
        yield from _inside(field.annotation, content[field.key], here, own)


def _inside(annotation, content, path, steps):
    inner = [each for each in get_args(annotation) if each is not type(None)]
    if content is None or (not content and type(None) in get_args(annotation)):
        return
    if is_record(annotation):
        yield from places(annotation, content, f"{path}.", steps)
    elif get_origin(annotation) in (Union, types.UnionType) and len(inner) == 1:
        yield from _inside(inner[0], content, path, steps)
    elif isinstance(content, list) and inner:
        for index, each in enumerate(content):
            yield from _inside(inner[0], each, f"{path}[{index}]", (*steps, index))
    elif isinstance(content, dict) and len(inner) == 2:
        for key, each in content.items():
            yield from _inside(inner[1], each, f"{path}.{key}", (*steps, key))


def changed(content, steps, change):
    """A copy in which `change` was done to the mapping that holds the last step."""
    copy = dict(content) if isinstance(content, dict) else list(content)
    if len(steps) == 1:
        change(copy, steps[0])
    else:
        copy[steps[0]] = changed(content[steps[0]], steps[1:], change)
    return copy
