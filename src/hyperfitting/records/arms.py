"""What to call an arm, and what kind of arm it is. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from hyperfitting.records import Arm
from hyperfitting.untrusted import printable

SAMPLED, MATCHED = "_sampled", "original_entropy_matched"


def arm_of(name: str, seed: int | None, parameters: Mapping[str, Any]) -> Arm:
    """An arm from the fields that a JSON file names it by.

    Lists become tuples, so that arms can be keys.
    """
    fields = (
        (key, tuple(value) if isinstance(value, list) else value)
        for key, value in parameters.items()
    )
    return Arm(name, seed, tuple(fields))


def variant(arm: Arm) -> Arm:
    """The arm without its seed: what runs of several seeds have in common."""
    return arm._replace(seed=None)


def is_control(arm: Arm) -> bool:
    """Whether an arm is a model at another temperature, sampled, or with another decoder."""
    return is_decoded(arm) or arm.name.endswith(SAMPLED) or arm.name == MATCHED


def is_decoded(arm: Arm) -> bool:
    """Whether an arm is a model with another decoder than greedy."""
    return "+" in arm.name


def is_tuned(arm: Arm) -> bool:
    """Whether an arm is a tuned model, decoded greedily."""
    return not is_control(arm) and arm.name not in ("human", "original")


def label(arm: Arm, arms: Iterable[Arm], num_seeds: int = 1) -> str:
    """The arm's name, its parameters in brackets, and what tells it from its neighbours.

    The seed is named only where `arms` holds several seeds of the same name and parameters; a
    mean over seeds (`num_seeds` above 1) names their number instead. Free of control characters.
    """
    last = [key.rsplit(".", 1)[-1] for key, _ in arm.parameters]
    keys = last if len(set(last)) == len(last) else [key for key, _ in arm.parameters]
    parts = [f"{key}={_value(value)}" for key, (_, value) in zip(keys, arm.parameters, strict=True)]
    if num_seeds > 1:
        parts.append(f"{num_seeds} seeds")
    elif len({other.seed for other in arms if variant(other) == variant(arm)}) > 1:
        parts.append(f"seed {arm.seed}")
    return printable(f"{arm.name} ({', '.join(parts)})" if parts else arm.name)


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
