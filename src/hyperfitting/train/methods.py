"""What each method trains: one visible table, and the code that sets it up.

To add a method, add a line to `METHODS` (and its name to `config.MethodName`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hyperfitting.config import MethodName, TrainConfig
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import decoder_blocks, linear_modules
from hyperfitting.train.lora import add_adapters


@dataclass(frozen=True)
class Method:
    """A way to train: which blocks, and whether through adapters.

    `blocks` maps (number of blocks, last_blocks) to the 0-based indices that train; None trains
    every parameter of the model.
    """

    arm: str
    label: str
    blocks: Callable[[int, int], range] | None


METHODS: Mapping[MethodName, Method] = {
    "full_sft": Method("hyperfitted", "all parameters", None),
    "full_lora": Method("full_lora", "LoRA on every block", lambda count, last: range(count)),
    "late_stage_lora": Method(
        "late_stage_lora", "LoRA on the last blocks", lambda count, last: range(count - last, count)
    ),
}


@dataclass(frozen=True)
class Trainable:
    """A model set up for training, and what of it trains."""

    model: Any
    names: list[str]  # trained parameters, full names
    count: int  # trained scalars
    blocks: list[int] | None  # 0-based indices of adapted blocks; None where all parameters train

    def parameters(self) -> list[Any]:
        """The trained tensors."""
        return [p for p in self.model.parameters() if p.requires_grad]


def prepare(model: Any, config: TrainConfig) -> Trainable:
    """Mutates `model`: freezes it or adds adapters as the method asks.

    Raises:
        InputError: `last_blocks` is out of range, or the blocks hold no linear layer.
    """
    method = METHODS[config.method]
    if method.blocks is None:
        model.requires_grad_(True)
        return _account(model, None)
    blocks = list(decoder_blocks(model))
    if config.method == "late_stage_lora" and not 1 <= config.last_blocks <= len(blocks):
        raise InputError(
            f"--last-blocks is {config.last_blocks}, the model has {len(blocks)} blocks",
            needed=f"a number from 1 to {len(blocks)}",
        )
    indices = list(method.blocks(len(blocks), config.last_blocks))
    targets = linear_modules(model, [blocks[i] for i in indices])
    if not targets:
        raise InputError(
            f"the blocks of this {model.config.model_type!r} model hold no linear layers",
            needed="a model with linear layers, or --method full_sft",
        )
    return _account(add_adapters(model, targets, config), indices)


def _account(model: Any, blocks: list[int] | None) -> Trainable:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return Trainable(model, list(trained), sum(p.numel() for p in trained.values()), blocks)
