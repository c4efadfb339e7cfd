"""What sets a model up to train, for everything that a method may train.

What each method trains stands in `config/methods.py`. For a method that trains something new, add
a function to `SET_UP`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from hyperfitting.config import TrainConfig
from hyperfitting.config.methods import EVERYTHING, METHODS, SOME_AT_A_TIME, Method
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import (
    FAMILIES,
    anatomy,
    decoder_blocks,
    expert_matrices,
    is_known_family,
    linear_modules,
)
from hyperfitting.models.checkpoint import origin_of
from hyperfitting.models.load import is_quantized
from hyperfitting.models.types import CausalLM
from hyperfitting.train.lisa import some_at_a_time
from hyperfitting.train.lora import add_adapters
from hyperfitting.train.trainable import Trainable, account


def prepare(model: CausalLM, config: TrainConfig) -> Trainable:
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
    return SET_UP[method.trains](model, method, config)


def _everything(model: CausalLM, _method: Method, config: TrainConfig) -> Trainable:
    """Every parameter; `account` counts no blocks then."""
    model.requires_grad_(True)
    return account(model, None, config, has_adapter=False)


def _blocks_and_norm(model: CausalLM, method: Method, config: TrainConfig) -> Trainable:
    """The method's blocks and the final norm; embeddings and head stay frozen."""
    indices, names = trained_blocks(model, method, config)
    if not is_known_family(model):
        raise InputError(
            f"{config.method} needs to know the final norm of a {model.config.model_type!r} model",
            needed=f"a model of the families {', '.join(FAMILIES)}",
            hint="--method full_sft, full_lora, or late_stage_lora --prefix-cache off trains there",
        )
    model.requires_grad_(False)
    for name in [*names, anatomy(model).norm_name]:
        model.get_submodule(name).requires_grad_(True)
    return account(model, indices, config, has_adapter=False)


def _adapters(model: CausalLM, method: Method, config: TrainConfig) -> Trainable:
    """A LoRA on every linear layer of the method's blocks, and on its experts if that is asked."""
    indices, names = trained_blocks(model, method, config)
    targets = linear_modules(model, names)
    experts = expert_matrices(model, names) if config.lora.experts else []
    if config.lora.experts and not experts:
        raise InputError(
            f"train.lora.experts is set, and the blocks of this {model.config.model_type!r} model "
            "hold no experts as transformers keeps them",
            needed="a mixture of experts, or no train.lora.experts",
        )
    if targets:
        adapted = add_adapters(model, targets, config.lora, config.seed, experts)
        return account(adapted, indices, config, has_adapter=True)
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


# By `Method.trains`.
SET_UP: Mapping[str, Callable[[Any, Method, TrainConfig], Trainable]] = {
    EVERYTHING: _everything,
    SOME_AT_A_TIME: some_at_a_time,
    "blocks and final norm": _blocks_and_norm,
    "adapters": _adapters,
}


def require_trainable(config: TrainConfig, name: str, quantization: str | None) -> None:
    """Refuse a method that trains the weights of a quantised model, before it is loaded.

    Raises:
        InputError: it does.
    """
    if quantization is not None and not METHODS[config.method].has_adapters:
        raise InputError(
            f"the weights of {name} are quantised ({quantization}), and {config.method} trains "
            "the weights themselves",
            needed="--method late_stage_lora or full_lora, which leave them as they are; or the "
            "unquantised model",
        )


def trained_blocks(
    model: CausalLM, method: Method, config: TrainConfig
) -> tuple[list[int], list[str]]:
    """0-based indices and names of the blocks that the method trains.

    Raises:
        InputError: the method's number of blocks is not in 1..count.
    """
    names = list(decoder_blocks(model))
    count = len(names)
    k: int = getattr(config, method.setting) if method.setting else count
    if not 1 <= k <= count:
        raise InputError(
            f"--{str(method.setting).replace('_', '-')} is {k}, the model has {count} blocks",
            needed=f"a number from 1 to {count}",
        )
    indices = list(method.blocks(count, k))
    return indices, [names[i] for i in indices]
