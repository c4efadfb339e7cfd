"""From presets, file, flags and `key=value` to the config of a verb."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from hyperfitting.config import EvaluateConfig, ExplainConfig, ModelConfig, RunConfig
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
from hyperfitting.config.presets import BUILTIN_CORPORA, BUILTIN_MODEL_ON, PRESETS
from hyperfitting.config.together import check_together
from hyperfitting.errors import InputError, did_you_mean

METHOD, NULL_SOURCE = "train.method", "data.null_source"
_BLOCKS = {f"train.{name}" for name in get_args(BlockSetting)}


def default_layers(user: Sequence[Layer], method: Any) -> list[Layer]:
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
    return build(schema, [*texts_layers(user), *user])


def texts_layers(user: Sequence[Layer]) -> list[Layer]:
    """What the default recipe, the corpus and the model set of the texts."""
    layers = default_layers(user, DEFAULT_METHOD)
    kept = ({k: v for k, v in each.leaves.items() if k.startswith("data.")} for each in layers)
    return [Layer(each.source, data) for each, data in zip(layers, kept, strict=True)]


def method_of(user: Sequence[Layer]) -> Any:
    """The method that the user asks for, or the default one."""
    return peek(user, METHOD) or DEFAULT_METHOD


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
    method = method_of(user)
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
    resolved = build(RunConfig, [*default_layers(user, method), *user])
    check_together(resolved.config)
    return resolved


StageT = TypeVar("StageT", EvaluateConfig, ExplainConfig)


def beside(model: ModelConfig, stage: StageT) -> StageT:
    """A stage's settings; where it does not say where models run, they run where they train."""
    names = {"device", "trust_remote_code"} - stage.model_fields_set
    return stage.model_copy(update={name: getattr(model, name) for name in names})
