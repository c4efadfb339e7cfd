"""The learning rate that suits a model's weights, where none is given (`train.learning_rate=auto`).

AdamW moves a weight by about the rate at each step, however large the weight is. What a step does
to a model is therefore the rate over the size of its weights, as in Adafactor's relative steps
(Shazeer and Stern, arXiv 1804.04235, section 8): SmolLM2-135M's are five times as large as
Gemma-3-270M's, and need five times the rate. A LoRA's product B A moves by about the rate times
the size of A, so there the rate is relative to the weights over A.
"""

import math
from collections.abc import Mapping

import torch
from peft.tuners.lora import ParamWrapper
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor

from hyperfitting.config import TrainConfig
from hyperfitting.config.methods import METHODS
from hyperfitting.errors import InputError
from hyperfitting.models.types import CausalLM

LORA_A = ".lora_A.default.weight"
DIGITS = 2  # that an automatic rate is rounded to, so that a person can give the same


def learning_rate(model: CausalLM, trained: Mapping[str, Tensor], config: TrainConfig) -> float:
    """The rate after warm-up: as given, or the method's share of the size of the weights.

    Raises:
        InputError: `auto`, and the weights cannot be read as numbers, or are all zero.
    """
    if config.learning_rate != "auto":
        return config.learning_rate
    size = size_of_weights(model, trained)
    if not 0 < size < math.inf:
        raise InputError(
            f"the trained weights have the root mean square {size}, which no rate suits",
            needed="a rate: train.learning_rate=1e-5",
        )
    rate = METHODS[config.method].relative_rate * size
    return float(f"{rate:.{DIGITS - 1}e}")


def size_of_weights(model: CausalLM, trained: Mapping[str, Tensor]) -> float:
    """Root mean square of the trained matrices; of adapted ones, over that of each adapter's A.

    Vectors (norms, biases) do not count, but where nothing else trains.

    Raises:
        InputError: adapted weights in a format that cannot be read as numbers.
    """
    starts = {name: tensor for name, tensor in trained.items() if name.endswith(LORA_A)}
    if starts:
        adapted = [_adapted_weight(model, name.removesuffix(LORA_A)) for name in starts]
        return _root_mean_square(adapted) / _root_mean_square(list(starts.values()))
    matrices = [tensor for tensor in trained.values() if tensor.ndim > 1]
    return _root_mean_square(matrices or list(trained.values()))


def _adapted_weight(model: CausalLM, name: str) -> Tensor:
    """The weight under an adapter, as numbers."""
    layer = model.get_submodule(name)
    if isinstance(layer, ParamWrapper):  # of experts
        weight: Tensor = layer.get_param()
    else:
        weight = dequantize_module_weight(layer.base_layer)
    if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise InputError(
            f"{name} holds {str(weight.dtype).removeprefix('torch.')} numbers in a format of its "
            "own, whose size is not known here",
            needed="a rate: train.learning_rate=1e-4",
        )
    return weight


def _root_mean_square(tensors: list[Tensor]) -> float:
    norms = [float(torch.linalg.vector_norm(tensor.detach().float())) for tensor in tensors]
    return math.hypot(*norms) / math.sqrt(sum(tensor.numel() for tensor in tensors))
