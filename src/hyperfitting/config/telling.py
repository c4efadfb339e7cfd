"""What tells trainings of one method apart: the settings that change the weights they end with."""

from collections.abc import Mapping
from typing import Any

from hyperfitting.config.layers import flatten

# Of `train`: how it is computed, and what is kept beside the result.
HOW = (
    "method", "seed", "keep_at_loss", "checkpoint_steps", "compile", "gradient_checkpointing",
    "prefix_cache.place", "prefix_cache.folder",
)  # fmt: skip
# Of `data`: `source` and `null` are told under names of their own.
NAMED = ("source", "null")
# Of `monitor`, where TTR says when training ends.
STOPPING = ("every_epochs", "num_contexts")


def of_training(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `train` that change weights, the seed apart, of a run's settings."""
    train, monitor = flatten(config["train"]), config.get("monitor", {})
    told = {key: value for key, value in train.items() if key not in HOW}
    if train.get("stop") == "ttr_plateau":
        told |= {f"monitor.{key}": monitor[key] for key in STOPPING if key in monitor}
    return told


def of_windows(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `data` that say which windows are trained on, of a run's settings."""
    return {key: value for key, value in flatten(config["data"]).items() if key not in NAMED}
