"""From a plan of `hyperfit study` to its cells and trainings, each as its own verb is told it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hyperfitting.config.judge import JudgeConfig
from hyperfitting.config.layers import Layer, build, flatten, leaf_fields
from hyperfitting.config.methods import METHODS, Settings
from hyperfitting.config.plans import PLANS, PlanConfig
from hyperfitting.config.resolve import (
    METHOD,
    NULL_SOURCE,
    beside,
    not_for,
    preset_layer,
    resolve_run,
)
from hyperfitting.config.stages import ExplainConfig
from hyperfitting.config.telling import of_training, of_windows
from hyperfitting.config.training import RunConfig
from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.written import settle


@dataclass(frozen=True)
class Plan:
    """A checked plan; `given` holds the settings of training that it sets itself."""

    config: PlanConfig
    given: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    judge: JudgeConfig | None = None
    brought: Mapping[str, Any] = field(default_factory=dict)  # of `explain`, by a plan of a name


@dataclass(frozen=True)
class PlannedRun:
    """One training: its folder among the runs of its cell, and what `hyperfit train` is told."""

    folder: str
    config: RunConfig
    protocol: str | None
    given: Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One model on one source: a STUDY of its own, named by its folder."""

    name: str
    model: str
    source: str
    runs: tuple[PlannedRun, ...]


# Chosen by the plan, run by run.
CHOSEN = ("model.name", "data.source", "data.null", METHOD, "train.seed")
# Settings that leave the held-out texts as they are, so that variants can be compared.
OF_VARIANTS = (
    "train.", "monitor.", "data.num_train", "data.max_train", "data.windows_per_document",
)  # fmt: skip
OPEN = ("variants", "judge")  # groups that are no part of `PlanConfig`


def named_plan(name: str) -> Layer:
    """The settings of a plan by its name.

    Raises:
        InputError: there is none.
    """
    if name not in PLANS:
        raise InputError(
            f"{name} is neither a file nor a plan",
            needed=f"a YAML file, or one of {', '.join(PLANS)}",
            hint=did_you_mean(name, PLANS),
        )
    return Layer(f"plan {name}", flatten(PLANS[name]))


def resolve_plan(user: Sequence[Layer]) -> Plan:
    """A plan from the user's layers, in rising priority.

    Raises:
        InputError: an unknown setting, a value that is not accepted, or a setting that the plan
            chooses itself or that nothing in it takes.
    """
    own = [Layer(e.source, {k: v for k, v in e.leaves.items() if not _is_open(k)}) for e in user]
    for layer in own:
        for key in CHOSEN:
            if key in layer.leaves:
                raise InputError(
                    f"setting {key!r} ({layer.source}) does not apply to a plan",
                    needed="models, sources, methods, seeds and nulls, each a list",
                )
    stand_in = Layer("", {"model.name": "-", "data.source": "-"})
    resolved = build(PlanConfig, [stand_in, *own])
    known = {key for key, _ in leaf_fields(RunConfig)}
    set_by_user = flatten(resolved.config.model_dump(exclude_unset=True))
    given = {k: v for k, v in set_by_user.items() if k in known and k not in CHOSEN}
    config = resolved.config
    stages = {name: beside(config.model, getattr(config, name)) for name in ("evaluate", "explain")}
    config = config.model_copy(update=stages)
    plan = Plan(config, given, _variants(user), _judge(user), _brought(user))
    _require_used(plan)
    cells(plan)  # refuses what no training can have
    return plan


def _brought(user: Sequence[Layer]) -> dict[str, Any]:
    """The settings of `explain` that come with a plan's name, and not from its user."""
    names = {f"plan {name}": own.get("explain", {}) for name, own in PLANS.items()}
    of_plan: Settings = next((names[e.source] for e in user if e.source in names), {})
    return {name: getattr(ExplainConfig(**of_plan), name) for name in of_plan}


def _is_open(key: str) -> bool:
    return key.split(".")[0] in OPEN


def _open_group(user: Sequence[Layer], group: str) -> dict[str, Any]:
    """The settings of an open group, later layers winning, without the group's name."""
    found: dict[str, Any] = {}
    for layer in user:
        found |= {
            key.removeprefix(f"{group}."): value
            for key, value in layer.leaves.items()
            if key.startswith(f"{group}.")
        }
    return found


def _variants(user: Sequence[Layer]) -> dict[str, dict[str, Any]]:
    """Settings of each variant by its name.

    Raises:
        InputError: a name that no folder can have, or a setting that variants may not change.
    """
    found: dict[str, dict[str, Any]] = {}
    kinds = {key: field.annotation for key, field in leaf_fields(RunConfig)}
    known = list(kinds)
    for path, value in _open_group(user, "variants").items():
        name, _, key = path.partition(".")
        if not name.replace("-", "").replace("_", "").isalnum() or not key:
            raise InputError(
                f"variants has {path!r}",
                needed="NAME: {SETTING: VALUE}, for example rank64: {train.lora.rank: 64}; a name "
                "of letters, digits, - and _",
            )
        if key not in known or key in CHOSEN or not key.startswith(OF_VARIANTS):
            raise InputError(
                f"variant {name!r} sets {key!r}",
                needed=f"a setting that begins with one of {', '.join(OF_VARIANTS)}",
                hint=did_you_mean(key, [k for k in known if k.startswith(OF_VARIANTS)]),
            )
        found.setdefault(name, {})[key] = settle(value, kinds[key])
    return found


def _judge(user: Sequence[Layer]) -> JudgeConfig | None:
    """The settings of the judge, where the plan has any."""
    found = _open_group(user, "judge")
    return build(JudgeConfig, [Layer("plan, judge", found)]).config if found else None


def _require_used(plan: Plan) -> None:
    """Refuse settings that no training of the plan takes, and arms that it does not have.

    Raises:
        InputError: there is one.
    """
    methods = plan.config.methods
    of_variants = [(f"variant {name!r}", own) for name, own in plan.variants.items()]
    for where, settings in (("the plan", plan.given), *of_variants):
        for key in settings:
            if all(key in not_for(method) for method in methods):
                raise InputError(
                    f"{where} sets {key!r}, which none of {', '.join(methods)} takes",
                    needed="other methods, or without this setting",
                )
    arms = [METHODS[method].arm for method in methods]
    if unknown := [name for name in plan.config.explained if name not in arms]:
        raise InputError(
            f"setting 'explained' names {unknown[0]!r}, which no method of the plan trains",
            needed=f"among {', '.join(arms)}, or [] for none",
            hint=did_you_mean(unknown[0], arms),
        )


def cells(plan: Plan) -> list[Cell]:
    """Every model on every source, with the trainings of each.

    Raises:
        InputError: settings that a training cannot have, or two trainings that are the same.
    """
    config, found = plan.config, list[Cell]()
    for model in config.models:
        for source in config.sources:
            taken = {cell.name for cell in found}
            name = _free_name(f"{_slug(model)}--{_slug(source)}", taken)
            runs = _runs(plan, model, source)
            _require_different(runs)
            found.append(Cell(name, model, source, tuple(runs)))
    return found


def _require_different(runs: Sequence[PlannedRun]) -> None:
    """Refuse trainings that end with the same weights, which no evaluation takes together.

    Raises:
        InputError: there are two.
    """
    before: dict[str, PlannedRun] = {}
    folders: set[str] = set()
    for run in runs:
        content = run.config.model_dump(mode="json")
        train, null = run.config.train, run.config.data.null
        told = repr((train.method, train.seed, null, of_training(content), of_windows(content)))
        if told in before:
            raise InputError(
                f"{run.folder} and {before[told].folder} of the plan train the same model",
                needed="variants with a setting that changes what is trained",
            )
        if run.folder in folders:
            raise InputError(
                f"two trainings of the plan have the name {run.folder}",
                needed="variants with other names than the nulls",
            )
        folders.add(run.folder)
        before[told] = run


def _runs(plan: Plan, model: str, source: str) -> list[PlannedRun]:
    """Trainings of one cell: the first seed of everything first."""
    config = plan.config
    kinds = [(method, "none") for method in config.methods]
    kinds += [(config.methods[0], null) for null in config.nulls]
    found = []
    for seed in config.seeds:
        for method, null in kinds:
            found.append(_run(plan, model, source, method, null, seed, ""))
            for variant, settings in plan.variants.items():
                applies = not set(settings) & set(not_for(method))
                if null == "none" and applies:
                    found.append(_run(plan, model, source, method, null, seed, variant))
    return found


def _run(
    plan: Plan, model: str, source: str, method: str, null: str, seed: int, variant: str
) -> PlannedRun:
    ignored = not_for(method)
    if null != "other_language":
        ignored = (*ignored, NULL_SOURCE)
    given = {key: value for key, value in plan.given.items() if key not in ignored}
    given |= {**plan.variants.get(variant, {}), "train.seed": seed}
    given |= {} if null == "none" else {"data.null": null}
    chosen = {"model.name": model, "data.source": source, METHOD: method}
    base = preset_layer(plan.config.protocol, method)
    config = resolve_run([*base, Layer("plan", chosen | given)]).config
    marks = [METHODS[method].arm, *([variant] if variant else [])]
    marks += [] if null == "none" else [null]
    folder = f"{'-'.join(marks)}-seed-{seed}"
    settled = flatten(config.model_dump(mode="json"))
    return PlannedRun(folder, config, plan.config.protocol, {key: settled[key] for key in given})


def _slug(name: str) -> str:
    """A folder's name for a model or texts: the last parts of a path, plain characters only."""
    last = name.rstrip("/").rpartition("/")[2] or "texts"
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in last).strip("-.")
    return plain.lower()[:60] or "texts"


def _free_name(name: str, taken: set[str]) -> str:
    number = 2
    while (candidate := name if number == 2 else f"{name}-{number - 1}") in taken:
        number += 1
    return candidate
