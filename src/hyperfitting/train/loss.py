"""Negative log-likelihood from hidden states, without ever holding all logits.

Shape letters: N positions, D hidden width, V vocabulary.

Exact also near zero loss: no small gradient is dropped. torch's own `linear_cross_entropy` does
the work where it exists (torch 2.13), in float32 and without a softcap; `_ChunkedNll` elsewhere.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

IGNORED = -100  # target of a position that is not trained on
# Float32 logits of one chunk; a chunk has 64 rows at least, or products get slow.
CHUNK_BYTES = {"cpu": 2**25, "cuda": 2**28}
LEAST_ROWS = 64


class Head(NamedTuple):
    """The output matrix, and the softcap of its logits where the model has one."""

    weight_VD: Tensor
    softcap: float | None = None


def chunk_rows(head: Head) -> int:
    """Positions whose logits exist at one time."""
    budget = CHUNK_BYTES.get(head.weight_VD.device.type, CHUNK_BYTES["cpu"])
    return max(LEAST_ROWS, budget // (4 * head.weight_VD.shape[0]))


def head_logits(hidden: Tensor, head: Head) -> Tensor:
    """Float32 logits of a few positions, as the model itself computes them."""
    logits = F.linear(hidden, head.weight_VD)
    if head.softcap is not None:
        logits = torch.tanh(logits / head.softcap) * head.softcap
    return logits.float()


def summed_nll(hidden_ND: Tensor, head: Head, target_N: Tensor) -> Tensor:
    """Sum over the positions that count (`target_N` is not `IGNORED`), in nats."""
    if not torch.is_grad_enabled():  # both paths compute gradients along with the value
        hidden_ND, head = hidden_ND.detach(), Head(head.weight_VD.detach(), head.softcap)
    if has_linear_cross_entropy() and head.softcap is None and _is_plain_float32(hidden_ND):
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=chunk_rows(head))
        total: Tensor = F.linear_cross_entropy(
            hidden_ND, head.weight_VD, target_N,
            reduction="sum", ignore_index=IGNORED, options=options,
        )  # fmt: skip
        return total
    summed: Tensor = _ChunkedNll.apply(
        hidden_ND, head.weight_VD, target_N, head.softcap, chunk_rows(head)
    )  # type: ignore[no-untyped-call]
    return summed


def has_linear_cross_entropy() -> bool:
    """Whether this torch computes the loss in chunks itself."""
    return hasattr(torch.nn, "LinearCrossEntropyOptions")


def _is_plain_float32(hidden: Tensor) -> bool:
    autocast = torch.is_autocast_enabled(hidden.device.type)
    return hidden.dtype == torch.float32 and not autocast


class _ChunkedNll(torch.autograd.Function):
    """Computes the gradients in the forward pass, a chunk of positions at a time.

    The head's gradient is left out where the head is frozen.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        target_N: Tensor,
        softcap: float | None,
        rows: int,
    ) -> Tensor:
        device = hidden_ND.device.type
        dtype = hidden_ND.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        weight = weight_VD.to(dtype)
        total = torch.zeros((), device=hidden_ND.device)
        grad_hidden = torch.empty_like(hidden_ND) if wants_hidden else None
        grad_weight = torch.zeros_like(weight_VD, dtype=torch.float32) if wants_weight else None
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden_ND), rows):
                part = slice(start, start + rows)
                hidden_CD = hidden_ND[part].to(dtype)
                nll, grad_CV = _chunk(hidden_CD, weight, target_N[part], softcap)
                total += nll
                if grad_hidden is not None:
                    grad_hidden[part] = grad_CV.to(dtype) @ weight
                if grad_weight is not None:
                    grad_weight += (grad_CV.to(dtype).T @ hidden_CD).float()
                del grad_CV
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight_VD.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grad_outputs[0]
        return (
            None if grad_hidden is None else grad_hidden * scale.to(grad_hidden.dtype),
            None if grad_weight is None else (grad_weight * scale).to(ctx.weight_dtype),
            None,
            None,
            None,
        )


def _chunk(
    hidden_CD: Tensor, weight_VD: Tensor, target_C: Tensor, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """Summed nll of a chunk and its gradient with respect to the uncapped logits, [C, V]."""
    logits_CV = (hidden_CD @ weight_VD.T).float()
    tanh_CV = None
    if softcap is not None:
        tanh_CV = logits_CV.div_(softcap).tanh_()
        logits_CV = tanh_CV * softcap
    log_p_CV = torch.log_softmax(logits_CV, dim=-1)
    del logits_CV  # at most three chunks of logits exist
    counts_C1 = (target_C != IGNORED)[:, None]
    index_C1 = target_C.clamp(min=0)[:, None]
    nll = -(log_p_CV.gather(1, index_C1) * counts_C1).sum()
    grad_CV = log_p_CV.exp_()
    grad_CV.scatter_add_(1, index_C1, torch.full_like(index_C1, -1, dtype=grad_CV.dtype))
    grad_CV *= counts_C1
    if tanh_CV is not None:
        grad_CV *= tanh_CV.square_().neg_().add_(1)  # derivative of the cap
    return nll, grad_CV
