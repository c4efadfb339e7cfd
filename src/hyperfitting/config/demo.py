"""The demo's config, and one run config per method and null of it."""

from collections.abc import Mapping, Sequence

from hyperfitting.config import DemoConfig, RunConfig, require_effect
from hyperfitting.config.layers import Layer, Resolved, build, flatten, leaf_fields, peek
from hyperfitting.config.presets import DEMO_DEFAULTS
from hyperfitting.config.resolve import NULL_SOURCE, default_layers, not_for, resolve_run
from hyperfitting.errors import InputError


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
    resolved = build(DemoConfig, [*default_layers(layers, None), method, *layers])
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
