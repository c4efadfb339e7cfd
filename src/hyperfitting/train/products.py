"""LoRA products for float32 training, through one matrix instead of two narrow ones.

PEFT computes `x Wᵀ + scale * (x Aᵀ) Bᵀ`: two products with a side of `rank`, a scaling and an
addition, each a pass over all activations. Adding the adapter to the weight first costs
`out * in * rank` operations, whatever the batch, and leaves one product in the forward and one
in the backward pass. The gradients of A and B are the same low-rank products as before. The price
is memory: the sums, as large as the adapted weights, are kept until the backward pass.

In lower precision the sum would lose the adapter's small part, so PEFT's own code runs there.

Shape letters: N positions, I inputs, O outputs, R rank.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hyperfitting.models.types import CausalLM

ADAPTER = "default"


class _AdaptedProduct(torch.autograd.Function):
    """`x (W + scale * B A)ᵀ + bias`; W and the bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        a_RI: Tensor,
        b_OR: Tensor,
        scale: float,
    ) -> Tensor:
        adapted_OI = torch.addmm(weight_OI, b_OR, a_RI, alpha=scale)
        y = x @ adapted_OI.T  # no view of something else: models may clamp it in place
        if bias_O is not None:
            y += bias_O
        ctx.save_for_backward(x.reshape(-1, x.shape[-1]), adapted_OI, a_RI, b_OR)
        ctx.scale, ctx.shape = scale, x.shape
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        x_NI, adapted_OI, a_RI, b_OR = ctx.saved_tensors
        grad_NO = grad_outputs[0].reshape(-1, adapted_OI.shape[0])
        grad_x = (grad_NO @ adapted_OI).view(ctx.shape) if ctx.needs_input_grad[0] else None
        # Forms that read the long side in order: twice as fast here as their transposes.
        grad_a = (grad_NO @ (b_OR * ctx.scale)).T @ x_NI
        grad_b = ((x_NI @ (a_RI.T * ctx.scale).contiguous()).T @ grad_NO).T
        return grad_x, None, None, grad_a, grad_b, None


def _is_plain(layer: PeftLinear) -> bool:
    base = layer.base_layer
    return (
        type(base) in (nn.Linear, Conv1D)
        and base.weight.dtype == torch.float32
        and not layer.lora_variant  # DoRA and its like have their own forward pass
    )


def use_adapted_products(model: CausalLM) -> int:
    """Mutates the plain LoRA layers of `model` to train through one product each.

    Without gradients, and under autocast, PEFT's own forward pass runs.

    Returns:
        How many layers were changed.
    """
    layers = [m for m in model.modules() if isinstance(m, PeftLinear) and _is_plain(m)]
    for layer in layers:
        layer.forward = _forward_of(layer)
    return len(layers)


def _forward_of(layer: PeftLinear) -> Any:
    base, original = layer.base_layer, layer.forward
    a_RI, b_OR = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    scale = layer.scaling[ADAPTER]
    transposed = isinstance(base, Conv1D)

    def forward(x: Tensor) -> Any:
        unusual = layer.disable_adapters or layer.merged
        if unusual or not torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
            return original(x)
        weight_OI = base.weight.T if transposed else base.weight
        return _AdaptedProduct.apply(x, weight_OI, base.bias, a_RI, b_OR, scale)  # type: ignore[no-untyped-call]

    return forward
