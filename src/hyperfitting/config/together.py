"""Settings of a training run that contradict each other, or could never have an effect."""

from hyperfitting.config import RunConfig, require_effect
from hyperfitting.config.training import PLATEAU_EVALUATIONS
from hyperfitting.errors import InputError


def check_together(config: RunConfig) -> None:
    """Refuse settings that contradict each other.

    Raises:
        InputError: they do.
    """
    lora = config.train.lora
    if config.train.stop == "ttr_plateau":
        _check_plateau(config)
    others = config.data.null == "other_language"
    require_effect(
        config.data, ("null_source", others, "such a null", "other_language as data.null")
    )
    if others and config.data.null_source is None:
        raise InputError(
            "data.null is other_language, and no texts are given",
            needed="data.null_source=TEXTS, a source such as --data takes",
        )
    if lora.experts and (lora.dora or lora.init == "pissa"):
        raise InputError(
            "train.lora.experts is set with "
            + ("train.lora.dora" if lora.dora else "train.lora.init=pissa"),
            needed="a plain LoRA: PEFT has no other for the matrices of experts",
        )
    if lora.dora and lora.init == "pissa":
        raise InputError(
            "train.lora.dora and train.lora.init=pissa are both set",
            needed="one of them: their sum cannot be saved as an adapter for the unmodified base",
        )


def _check_plateau(config: RunConfig) -> None:
    """Refuse a stop at a flat TTR that no monitoring could ever see.

    Raises:
        InputError: TTR is not measured, or too rarely.
    """
    monitor, epochs = config.monitor, config.train.epochs
    for name, value in (
        ("every_epochs", monitor.every_epochs),
        ("num_contexts", monitor.num_contexts),
    ):
        if not value:
            raise InputError(
                f"train.stop is ttr_plateau, but monitor.{name}=0 measures no TTR",
                needed="train.stop=epochs, or monitoring",
            )
    # After the original's point and one that has risen, as many as may not rise any more.
    needed, points = 1 + PLATEAU_EVALUATIONS, epochs // monitor.every_epochs
    if points < needed:
        raise InputError(
            f"train.stop is ttr_plateau, which looks at {needed} monitoring points or more; "
            f"train.epochs={epochs} and monitor.every_epochs={monitor.every_epochs} give {points}",
            needed="more epochs, or more frequent monitoring",
            hint=f"train.epochs={max(epochs, 3 * needed)} monitor.every_epochs=1",
        )
