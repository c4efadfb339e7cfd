"""From presets, file, flags and `key=value` to the config of a verb."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from hyperfitting.config import (
    DemoConfig,
    EvaluateConfig,
    ExplainConfig,
    GenerateConfig,
    ModelConfig,
    ReportConfig,
    RunConfig,
    Section,
    require_effect,
)
from hyperfitting.config.compare import CompareConfig
from hyperfitting.config.diagnose import DiagnoseConfig
from hyperfitting.config.doctor import DoctorConfig
from hyperfitting.config.export import ExportConfig
from hyperfitting.config.fix import FixConfig
from hyperfitting.config.judge import JudgeConfig
from hyperfitting.config.layers import (
    OVERRIDE,
    ConfigT,
    Layer,
    Resolved,
    build,
    flatten,
    leaf_fields,
    peek,
)
from hyperfitting.config.methods import (
    DEFAULT_METHOD,
    METHODS,
    SOME_AT_A_TIME,
    BlockSetting,
    Method,
)
from hyperfitting.config.plans import PlanConfig
from hyperfitting.config.presets import (
    BUILTIN_CORPORA,
    BUILTIN_MODEL_ON,
    DEMO_DEFAULTS,
    PRESETS,
)
from hyperfitting.config.together import check_together
from hyperfitting.errors import InputError, did_you_mean


def _preset_layers(user: Sequence[Layer], method: Any) -> list[Layer]:
    """What the chosen corpus, method and model change about the plain defaults."""
    layers = []
    source = peek(user, "data.source")
    if source is not None and source in BUILTIN_CORPORA:
        layers.append(Layer(f"set for {source}", flatten(BUILTIN_CORPORA[source])))
    known, is_builtin = METHODS.get(str(method)), peek(user, "model.name") == "builtin"
    if known:
        layers.append(Layer(f"default of {method}", flatten(known.defaults)))
    if known and is_builtin:
        layers.append(Layer("tuned for builtin", flatten(known.tuned)))
    if is_builtin and source is not None and source in BUILTIN_MODEL_ON:
        layers.append(Layer(f"tuned for builtin on {source}", flatten(BUILTIN_MODEL_ON[source])))
    return layers


def resolve_texts(schema: type[ConfigT], user: Sequence[Layer]) -> Resolved[ConfigT]:
    """The config of a verb that reads texts as `hyperfit train` would, by its default method.

    Raises:
        InputError: an unknown setting, or a value that is not accepted.
    """
    return build(schema, [*_data_layers(user), *user])


def _data_layers(user: Sequence[Layer]) -> list[Layer]:
    """What the default recipe, the corpus and the model set of the texts."""
    layers = _preset_layers(user, DEFAULT_METHOD)
    kept = ({k: v for k, v in each.leaves.items() if k.startswith("data.")} for each in layers)
    return [Layer(each.source, data) for each, data in zip(layers, kept, strict=True)]


def _method(user: Sequence[Layer]) -> Any:
    """The method that the user asks for, or the default one."""
    return peek(user, METHOD) or DEFAULT_METHOD


REQUIRED = "required, not given"  # source of a setting that has no value yet
METHOD, NULL_SOURCE = "train.method", "data.null_source"
_BLOCKS = {f"train.{name}" for name in get_args(BlockSetting)}


def not_for(name: str | None) -> tuple[str, ...]:
    """The settings that a method would silently ignore; none of what is no method."""
    method = METHODS.get(str(name))
    keys = [key for key, _ in leaf_fields(RunConfig)] if method else []
    return tuple(key for key in keys if method and not _applies(key, method))


def _applies(key: str, method: Method) -> bool:
    if key in _BLOCKS:
        return key == f"train.{method.setting}"
    if key.startswith("train.lisa_"):
        return method.trains == SOME_AT_A_TIME
    if key.startswith("train.prefix_cache."):
        return method.is_late
    if key.startswith("train.lora.") or key == "model.quantization":
        return method.has_adapters
    return True


def preset_layer(name: str | None, method: str | None) -> list[Layer]:
    """The settings of a protocol of `presets.PRESETS` for a method or its own; or nothing.

    Raises:
        InputError: no such protocol, or one of other methods.
    """
    if name is None:
        return []
    if name not in PRESETS:
        raise InputError(
            f"there is no preset {name!r}",
            needed=f"one of {', '.join(PRESETS)}",
            hint=did_you_mean(name, PRESETS),
        )
    preset = PRESETS[name]
    method = method or preset.method
    if preset.methods and method not in preset.methods:
        raise InputError(
            f"preset {name!r} is a protocol of {', '.join(preset.methods)}, not of {method}",
            needed=f"--method {preset.methods[0]}, or another preset",
        )
    leaves = {METHOD: method} | flatten(preset.settings)
    leaves |= flatten(preset.of_method.get(method, {}))
    ignored = not_for(method)
    return [Layer(f"preset {name}", {k: v for k, v in leaves.items() if k not in ignored})]


def resumed_layer(config: Mapping[str, Any]) -> Layer:
    """The settings a run was started with; consent to foreign code is given anew each time."""
    leaves = flatten(config)
    leaves.pop("model.trust_remote_code", None)
    ignored = not_for(leaves.get("train.method"))
    return Layer("run to resume", {k: v for k, v in leaves.items() if k not in ignored})


def run_config(
    model: str, data: str, method: str, settings: Mapping[str, Any] | None = None
) -> RunConfig:
    """The config of one training run, with the values that suit its method, model and texts.

    `settings` maps the keys that `hyperfit config show train` lists to values, which win.

    Raises:
        InputError: an unknown setting, or a value that is not accepted.
    """
    named = {"model.name": model, "data.source": data, "train.method": method}
    return resolve_run([Layer("call", named | dict(settings or {}))]).config


def resolve_run(user: Sequence[Layer]) -> Resolved[RunConfig]:
    """The config of `hyperfit train` from the user's layers, in rising priority.

    Raises:
        InputError: an unknown or missing setting, a value that is not accepted, or a setting
            the method would ignore.
    """
    method = _method(user)
    for layer in user:
        for key in not_for(method):
            if key in layer.leaves:
                raise InputError(
                    f"setting {key!r} ({layer.source}) does not apply to {method}",
                    needed="another method, or without this setting",
                )
    typed = {key for layer in user if layer.source == OVERRIDE for key in layer.leaves}
    if typed >= {"data.num_train", "data.max_train"}:
        raise InputError(
            "data.num_train and data.max_train are both set",
            needed="num_train for a number of windows, or max_train for at most that many",
        )
    resolved = build(RunConfig, [*_preset_layers(user, method), *user])
    check_together(resolved.config)
    return resolved


StageT = TypeVar("StageT", EvaluateConfig, ExplainConfig)


def beside(model: ModelConfig, stage: StageT) -> StageT:
    """A stage's settings; where it does not say where models run, they run where they train."""
    names = {"device", "trust_remote_code"} - stage.model_fields_set
    return stage.model_copy(update={name: getattr(model, name) for name in names})


def resolve_demo(user: Sequence[Layer]) -> Resolved[DemoConfig]:
    """The config of `hyperfit demo`; the values of each method stand in `demo_runs`.

    Raises:
        InputError: an unknown setting, a value that is not accepted, or a single method.
    """
    if peek(user, "train.method") is not None:
        raise InputError(
            "setting 'train.method' does not apply to the demo, which runs several methods",
            needed="for example methods=[full_sft]",
        )
    if peek(user, "data.null") is not None:
        raise InputError(
            "setting 'data.null' does not apply to the demo, which trains on texts and on nulls",
            needed="for example nulls=[shuffled,self_samples]",
        )
    method = Layer("demo", {"train.method": "full_sft"})
    layers = [Layer("demo", flatten(DEMO_DEFAULTS)), *user]
    resolved = build(DemoConfig, [*_preset_layers(layers, None), method, *layers])
    _refuse_ignored(resolved.config, user)
    others = "other_language" in resolved.config.nulls
    require_effect(
        resolved.config.data, ("null_source", others, "such a null", "nulls=[other_language]")
    )
    return resolved


def _refuse_ignored(demo: DemoConfig, user: Sequence[Layer]) -> None:
    """Refuse a setting that no method of the demo takes, or a base that not all can have.

    Raises:
        InputError: there is one.
    """
    for layer in user:
        for key in layer.leaves:
            without = [m for m in demo.methods if key in not_for(m)]
            if len(without) == len(demo.methods) or (without and key == "model.quantization"):
                raise InputError(
                    f"setting {key!r} ({layer.source}) does not apply to {', '.join(without)}",
                    needed="other methods, or without this setting",
                )


def demo_runs(
    demo: DemoConfig, sources: Mapping[str, str] | None = None
) -> list[Resolved[RunConfig]]:
    """One run config per method of the demo, each with its own tuned values, and per null.

    What was set in the demo's config holds for every method it applies to; `sources` says where
    each value comes from.

    Raises:
        InputError: what was set is for no method of the demo, or its values do not fit together.
    """
    given = flatten(demo.model_dump(exclude_unset=True))
    defaults = {key: field.get_default() for key, field in leaf_fields(RunConfig)}
    changed = {k: v for k, v in given.items() if k in defaults and v != defaults[k]}
    _refuse_ignored(demo, [Layer("demo", changed)])
    shared = {key for key, _ in leaf_fields(RunConfig)} - {"train.method", "data.null"}
    runs = []
    for method, null in (
        *((method, "none") for method in demo.methods),
        *((demo.methods[0], null) for null in demo.nulls),
    ):
        ignored = not_for(method) if null == "other_language" else (*not_for(method), NULL_SOURCE)
        layers = [
            Layer((sources or {}).get(key, "demo"), {key: value})
            for key, value in given.items()
            if key in shared and key not in ignored
        ]
        run = {"train.method": method, "data.null": null}
        runs.append(resolve_run([*layers, Layer("demo", run)]))
    return runs


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
        _data_layers(user)
        if reads_texts
        else _preset_layers(user, _method(user) if has_method else None)
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
