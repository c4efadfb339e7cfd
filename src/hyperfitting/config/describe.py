"""Every setting of a verb, with its value and where that comes from: `hyperfit config show`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hyperfitting.config import (
    DemoConfig,
    EvaluateConfig,
    ExplainConfig,
    GenerateConfig,
    ReportConfig,
    RunConfig,
    Section,
)
from hyperfitting.config.compare import CompareConfig
from hyperfitting.config.demo import demo_runs, resolve_demo
from hyperfitting.config.diagnose import DiagnoseConfig
from hyperfitting.config.doctor import DoctorConfig
from hyperfitting.config.export import ExportConfig
from hyperfitting.config.fix import FixConfig
from hyperfitting.config.judge import JudgeConfig
from hyperfitting.config.layers import Layer, Resolved, build, flatten, leaf_fields, peek
from hyperfitting.config.plans import PlanConfig
from hyperfitting.config.resolve import METHOD, default_layers, method_of, not_for, texts_layers
from hyperfitting.errors import InputError, did_you_mean

REQUIRED = "required, not given"  # source of a setting that has no value yet


@dataclass(frozen=True)
class SettingRow:
    """One line of `hyperfit config show`; a required setting not given has the value None."""

    key: str
    value: Any
    source: str
    description: str


SCHEMAS: Mapping[str, type[Section]] = {
    "compare": CompareConfig,
    "demo": DemoConfig,
    "train": RunConfig,
    "diagnose": DiagnoseConfig,
    "doctor": DoctorConfig,
    "evaluate": EvaluateConfig,
    "explain": ExplainConfig,
    "export": ExportConfig,
    "fix": FixConfig,
    "generate": GenerateConfig,
    "judge": JudgeConfig,
    "report": ReportConfig,
}


def schema_of(verb: str) -> type[Section]:
    """The settings of a verb.

    Raises:
        InputError: no such verb.
    """
    schemas: Mapping[str, type[Section]] = {**SCHEMAS, "study": PlanConfig}
    if verb not in schemas:
        raise InputError(
            f"there are no settings for {verb!r}",
            needed=f"one of {', '.join(schemas)}",
            hint=did_you_mean(verb, schemas),
        )
    return schemas[verb]


def describe(verb: str, user: Sequence[Layer]) -> list[SettingRow]:
    """Every setting of `verb` as the user's layers leave it.

    Raises:
        InputError: no such verb, an unknown key or a value that is not accepted.
    """
    schema = schema_of(verb)
    if verb == "study":
        return _describe_study(user)
    if verb == "demo":
        return _describe_demo(user)
    has_method = any(key == METHOD for key, _ in leaf_fields(schema))
    reads_texts = schema in (DiagnoseConfig, DoctorConfig)
    presets = (
        texts_layers(user)
        if reads_texts
        else default_layers(user, method_of(user) if has_method else None)
    )
    required = [key for key, field in leaf_fields(schema) if field.is_required()]
    missing = [key for key in required if peek(user, key) is None]
    stand_in = Layer("", dict.fromkeys(missing, "-"))  # what is required takes any text
    rows = _setting_rows(schema, build(schema, [stand_in, *presets, *user]))
    return [
        SettingRow(row.key, None, REQUIRED, row.description) if row.key in missing else row
        for row in rows
    ]


def _describe_study(user: Sequence[Layer]) -> list[SettingRow]:
    """A plan's own settings; those of training depend on the method, and `train` shows them."""
    trained = {key for key, _ in leaf_fields(RunConfig)}
    own = [(key, field) for key, field in leaf_fields(PlanConfig) if key not in trained]
    needed = [
        key
        for key, field in own
        if field.is_required() and not any(key in layer.leaves for layer in user)
    ]
    stand_in = Layer("", dict.fromkeys((*needed, "model.name", "data.source"), "-"))
    lists = Layer("", dict.fromkeys(needed, ("-",)))
    rows = _setting_rows(PlanConfig, build(PlanConfig, [stand_in, lists, *user]))
    return [
        SettingRow(row.key, None, REQUIRED, row.description) if row.key in needed else row
        for row in rows
        if row.key not in trained
    ]


def _describe_demo(user: Sequence[Layer]) -> list[SettingRow]:
    """The demo's settings; those of training once per method, where methods differ."""
    demo = resolve_demo(user)
    methods = {
        run.config.train.method: {row.key: row for row in _setting_rows(RunConfig, run)}
        for run in demo_runs(demo.config, demo.sources)
    }
    rows = []
    for row in _setting_rows(DemoConfig, demo):
        if not row.key.startswith("train."):
            rows.append(row)
        elif row.key != "train.method":
            rows += [
                SettingRow(
                    f"{row.key} ({name})", own[row.key].value, own[row.key].source, row.description
                )
                for name, own in methods.items()
                if row.key not in not_for(name)
            ]
    return rows


def _setting_rows(schema: type[Section], resolved: Resolved[Any]) -> list[SettingRow]:
    values = flatten(resolved.config.model_dump(mode="json"))
    return [
        SettingRow(key, values[key], resolved.sources[key], field.description or "")
        for key, field in leaf_fields(schema)
    ]
