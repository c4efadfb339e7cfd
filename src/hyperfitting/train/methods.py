"""What each method trains: one visible table, and the code that sets it up.

To add a method, add a line to `METHODS` (and its name to `config.MethodName`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hyperfitting.config import TrainConfig
from hyperfitting.config.methods import METHODS, Method
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import (
    FAMILIES,
    anatomy,
    decoder_blocks,
    is_known_family,
    linear_modules,
)
from hyperfitting.models.checkpoint import origin_of
from hyperfitting.models.load import is_quantized
from hyperfitting.train.lora import add_adapters


@dataclass(frozen=True)
class Trainable:
    """A model set up for training, and what of it trains."""

    model: Any
    names: list[str]  # trained parameters, full names
    count: int  # trained scalars
    blocks: list[int] | None  # 0-based indices of trained blocks; None where everything trains
    has_adapter: bool
    initial: dict[str, Tensor]  # the trained tensors before the first step, in CPU memory

    def tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name, in the order of `names`."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name] for name in self.names}

    @contextmanager
    def original(self) -> Iterator[None]:
        """The model as it was before the first step, for as long as the block runs."""
        tensors = self.tensors()
        trained = {name: tensor.data for name, tensor in tensors.items()}
        try:
            for name, tensor in tensors.items():
                tensor.data = self.initial[name].to(tensor.device)
            yield
        finally:
            for name, tensor in tensors.items():
                tensor.data = trained[name]


def prepare(model: Any, config: TrainConfig) -> Trainable:
    """Mutates `model`: freezes it or adds adapters as the method asks.

    Raises:
        InputError: `last_blocks` or `first_blocks` is out of range, the blocks hold no linear
            layer, or the rate is too small to change the weights.
    """
    method = METHODS[config.method]
    if is_quantized(model):
        origin = origin_of(model)
        name, how = (origin.name, origin.quantization) if origin else ("this model", None)
        require_trainable(config, name, how or "in memory")
    if method.trains == "everything":
        model.requires_grad_(True)
        return _account(model, None, has_adapter=False, rate=config.learning_rate)
    blocks = list(decoder_blocks(model))
    indices = _trained_blocks(method, config, len(blocks))
    if method.trains == "blocks and final norm":
        if not is_known_family(model):
            raise InputError(
                f"{config.method} needs to know the final norm of a "
                f"{model.config.model_type!r} model",
                needed=f"a model of the families {', '.join(FAMILIES)}",
                hint="--method late_stage_lora --prefix-cache off trains adapters there",
            )
        _train_in_full(model, [blocks[i] for i in indices])
        return _account(model, indices, has_adapter=False, rate=config.learning_rate)
    targets = linear_modules(model, [blocks[i] for i in indices])
    if not targets:
        if is_quantized(model):
            raise InputError(
                f"the quantised layers of this {model.config.model_type!r} model are no linear "
                "layers that adapters are put on here",
                needed="the unquantised model, or a bitsandbytes base (model.quantization=nf4)",
            )
        raise InputError(
            f"the blocks of this {model.config.model_type!r} model hold no linear layers",
            needed="a model with linear layers, or --method full_sft",
        )
    adapted = add_adapters(model, targets, config.lora, config.seed)
    return _account(adapted, indices, has_adapter=True, rate=config.learning_rate)


def require_trainable(config: TrainConfig, name: str, quantization: str | None) -> None:
    """Refuse a method that trains the weights of a quantised model, before it is loaded.

    Raises:
        InputError: it does.
    """
    if quantization is not None and METHODS[config.method].trains != "adapters":
        raise InputError(
            f"the weights of {name} are quantised ({quantization}), and {config.method} trains "
            "the weights themselves",
            needed="--method late_stage_lora or full_lora, which leave them as they are; or the "
            "unquantised model",
        )


def _trained_blocks(method: Method, config: TrainConfig, count: int) -> list[int]:
    """0-based indices of the blocks that train, of `count`.

    Raises:
        InputError: the method's number of blocks is not in 1..count.
    """
    k: int = getattr(config, method.setting) if method.setting else count
    if not 1 <= k <= count:
        raise InputError(
            f"--{str(method.setting).replace('_', '-')} is {k}, the model has {count} blocks",
            needed=f"a number from 1 to {count}",
        )
    return list(method.blocks(count, k))


def _train_in_full(model: Any, block_names: list[str]) -> None:
    """Freeze all but the named blocks and the final norm; embeddings and head stay frozen."""
    model.requires_grad_(False)
    for name in [*block_names, anatomy(model).norm_name]:
        model.get_submodule(name).requires_grad_(True)


def _account(model: Any, blocks: list[int] | None, *, has_adapter: bool, rate: float) -> Trainable:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    require_effective_updates(trained, rate)
    initial = {name: p.detach().cpu().clone() for name, p in trained.items()}
    count = sum(p.numel() for p in trained.values())
    return Trainable(model, list(trained), count, blocks, has_adapter, initial)


def require_effective_updates(trained: Mapping[str, Tensor], rate: float) -> None:
    """Refuse a rate at which most trained weights would round back to what they were.

    AdamW moves a weight by about the rate. A move below half the distance to the next number of
    the weight's type is lost: in bfloat16, 0.02 - 5e-6 is 0.02.

    Raises:
        InputError: more than half of the weights could not move; the message has the arithmetic.
    """
    lost, total, example = 0, 0, None
    for tensor in trained.values():
        size = tensor.detach().abs()
        _, exponent = torch.frexp(size.float())
        eps = torch.finfo(tensor.dtype).eps
        spacing = torch.ldexp(torch.full_like(size, eps, dtype=torch.float32), exponent - 1)
        is_lost = (size > 0) & (spacing / 2 > rate)
        lost += int(is_lost.sum())
        total += tensor.numel()
        if example is None and is_lost.any():
            middle = float(size.float()[is_lost].median())
            at = float(spacing[is_lost & (size.float() == middle)].flatten()[0])
            example = (middle, at, str(tensor.dtype).removeprefix("torch."))
    if example is None or lost * 2 <= total:
        return
    weight, spacing_there, dtype = example
    raise InputError(
        f"train.learning_rate is {rate:g}: {lost:,} of {total:,} trained weights would not move. "
        f"They are {dtype}; near {weight:.3g} the next number is {spacing_there:.3g} away and an "
        f"update of less than {spacing_there / 2:.3g} rounds to nothing",
        needed="float32 weights, or a larger rate",
        hint=f"train.learning_rate={spacing_there:.1g} would move them",
    )
