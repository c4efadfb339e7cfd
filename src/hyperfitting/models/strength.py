"""A tuned model at another strength: between its original and itself, or beyond.

At strength s a weight is original + s (tuned - original): 0 is the original, 1 the tuned model.
"""

from collections.abc import Callable
from typing import Any

import torch

from hyperfitting.errors import InputError
from hyperfitting.models.load import is_quantized
from hyperfitting.models.types import CausalLM

# Settings of a LoRA by which more than its product is learned.
WHOLE_BESIDE = ("use_dora", "modules_to_save", "trainable_token_indices", "lora_bias")


def at_strength(tuned: CausalLM, original: Callable[[], CausalLM], strength: float) -> CausalLM:
    """A tuned model at a strength. Mutates `tuned`; the original is loaded where it is needed.

    Raises:
        InputError: as `set_strength`.
    """
    if strength != 1:
        set_strength(tuned, tuned if hasattr(tuned, "peft_config") else original(), strength)
    return tuned


def set_strength(tuned: CausalLM, original: CausalLM, strength: float) -> None:
    """Mutates `tuned`: the update of its adapter, or of all its weights, times `strength`.

    Args:
        tuned: a model as it was loaded, with an adapter or whole.
        original: the model it was trained from.
        strength: factor of the update, at least 0.

    Raises:
        InputError: what was tuned is not a multiple of an update: DoRA, adapters other than LoRA,
            layers that are trained whole beside one, quantised weights, or other shapes.
    """
    require_strength(tuned, original)
    if hasattr(tuned, "peft_config"):
        _scale_adapter(tuned, strength)
    else:
        _interpolate(tuned, original, strength)


def require_strength(tuned: CausalLM, original: CausalLM) -> None:
    """Refuse a tuned model whose update cannot be scaled.

    Raises:
        InputError: as `set_strength`.
    """
    if not hasattr(tuned, "peft_config"):
        if is_quantized(tuned) or is_quantized(original):
            raise _no_multiple("quantised weights")
        before = {name: weight.shape for name, weight in original.named_parameters()}
        for name, weight in tuned.named_parameters():
            if before.get(name) != weight.shape:
                raise _no_multiple(f"{name}, which the original has not, or in another shape")
        return
    for config in tuned.peft_config.values():
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        odd = [name for name in WHOLE_BESIDE if getattr(config, name, None)]
        if kind != "LORA" or odd:
            raise _no_multiple(" with ".join([f"an adapter of type {kind}", *odd[:1]]))


def _scale_adapter(tuned: Any, strength: float) -> None:
    for module in tuned.modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict):
            for name in scaling:
                scaling[name] *= strength


@torch.no_grad()
def _interpolate(tuned: CausalLM, original: CausalLM, strength: float) -> None:
    before = dict(original.named_parameters())
    for name, weight in tuned.named_parameters():
        start = before[name].float().to(weight.device)
        weight.copy_(torch.lerp(start, weight.float(), strength))


def _no_multiple(what: str) -> InputError:
    return InputError(
        f"the strength of {what} cannot be changed",
        needed="a plain LoRA adapter, or whole weights of the original's shapes",
        hint="leave strengths out, or give the other arms alone",
    )
