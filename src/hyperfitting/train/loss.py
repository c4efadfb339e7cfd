"""Negative log-likelihood from hidden states, without ever holding all logits.

Shape letters: N positions, D hidden width, V vocabulary.

Exact also near zero loss: no small gradient is dropped. torch's own `linear_cross_entropy` does
the work where it exists (torch 2.13), in float32 and without a softcap, on a GPU and for small
vocabularies; `_ChunkedNll` elsewhere.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from hyperfitting.train.tied import TiedGradient

IGNORED = -100  # target of a position that is not trained on
# Float32 logits of one chunk. A chunk has 64 rows at least, or products get slow; on a CPU, of a
# vocabulary that is not small, 256 at most, beyond which they get no faster.
CHUNK_BYTES, CHUNK_BYTES_IF_SMALL = 2**28, 2**25
LEAST_ROWS, MOST_ROWS_ON_CPU = 64, 256
SMALL_VOCABULARY = 16_384  # up to here torch's own chunks are as fast as ours on a CPU, or faster


class Head(NamedTuple):
    """The output matrix, and the softcap of its logits where the model has one."""

    weight_VD: Tensor
    softcap: float | None = None
    tied: TiedGradient | None = None  # takes the gradient, where it is the embedding's as well


def chunk_rows(head: Head) -> int:
    """Positions whose logits exist at one time."""
    vocabulary = head.weight_VD.shape[0]
    if head.weight_VD.is_cuda:
        return max(LEAST_ROWS, CHUNK_BYTES // (4 * vocabulary))
    if vocabulary <= SMALL_VOCABULARY:
        return CHUNK_BYTES_IF_SMALL // (4 * vocabulary)
    return min(MOST_ROWS_ON_CPU, max(LEAST_ROWS, CHUNK_BYTES // (4 * vocabulary)))


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
    if _is_torchs(hidden_ND, head):
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=chunk_rows(head))
        total: Tensor = F.linear_cross_entropy(
            hidden_ND, head.weight_VD, target_N,
            reduction="sum", ignore_index=IGNORED, options=options,
        )  # fmt: skip
        return total
    summed: Tensor = _ChunkedNll.apply(
        hidden_ND, head.weight_VD, target_N, head.softcap, chunk_rows(head), head.tied
    )  # type: ignore[no-untyped-call]
    return summed


def has_linear_cross_entropy() -> bool:
    """Whether this torch computes the loss in chunks itself."""
    return hasattr(torch.nn, "LinearCrossEntropyOptions")


def _is_torchs(hidden: Tensor, head: Head) -> bool:
    """Whether torch's own chunks do the work: on a CPU ours are faster for large vocabularies."""
    device = hidden.device.type
    is_plain = hidden.dtype == torch.float32 and not torch.is_autocast_enabled(device)
    is_fast = device == "cuda" or head.weight_VD.shape[0] <= SMALL_VOCABULARY
    return has_linear_cross_entropy() and head.softcap is None and is_plain and is_fast


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
        tied: TiedGradient | None,
    ) -> Tensor:
        device = hidden_ND.device.type
        dtype = hidden_ND.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        weight = weight_VD.to(dtype)
        total = torch.zeros((), device=hidden_ND.device)
        grad_hidden = torch.empty_like(hidden_ND) if wants_hidden else None
        # Before the logits, which would take the room that the last step's left: see allocation.py.
        grad_weight = torch.empty_like(weight_VD, dtype=torch.float32) if wants_weight else None
        assert len(hidden_ND), "no position, and so no gradient of the head"
        with torch.autocast(device, enabled=False):
            for start in range(0, len(hidden_ND), rows):
                part = slice(start, start + rows)
                hidden_CD = hidden_ND[part].to(dtype)
                nll, grad_CV = _chunk(hidden_CD, weight, target_N[part], softcap)
                total += nll
                if grad_hidden is not None:
                    grad_hidden[part] = grad_CV.to(dtype) @ weight
                if grad_weight is not None:
                    _add_product(grad_weight, grad_CV, hidden_CD, is_first=start == 0)
                del grad_CV
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight_VD.dtype
        ctx.tied = tied if tied is not None and tied.is_awaited else None
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grad_outputs[0]
        if grad_hidden is not None:
            grad_hidden = grad_hidden * scale.to(grad_hidden.dtype)
        if grad_weight is not None:
            # In place, as large as it is: torch refuses a second backward pass through it.
            grad_weight = grad_weight.mul_(scale).to(ctx.weight_dtype)
            if ctx.tied is not None:
                ctx.tied.leave(grad_weight)
                grad_weight = None
        return grad_hidden, grad_weight, None, None, None, None


def _add_product(sum_VD: Tensor, grad_CV: Tensor, hidden_CD: Tensor, *, is_first: bool) -> None:
    """Mutates `sum_VD`: a chunk's part of the head's gradient; the first takes the place of all."""
    if hidden_CD.dtype == torch.float32:
        sum_VD.addmm_(grad_CV.T, hidden_CD, beta=0 if is_first else 1)
        return
    product_VD = (grad_CV.to(hidden_CD.dtype).T @ hidden_CD).float()
    if is_first:
        sum_VD.copy_(product_VD)
    else:
        sum_VD += product_VD


def _chunk(
    hidden_CD: Tensor, weight_VD: Tensor, target_C: Tensor, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """Summed nll of a chunk and its gradient with respect to the uncapped logits, [C, V]."""
    if hidden_CD.is_cuda:
        logits_CV = (hidden_CD @ weight_VD.T).float()
    else:  # a CPU's product with the head on its left takes two thirds of the time
        logits_CV = (weight_VD @ hidden_CD.T).float().T
    tanh_CV = None
    if softcap is not None:
        tanh_CV = logits_CV.div_(softcap).tanh_()
        logits_CV = tanh_CV * softcap
    counts_C1 = (target_C != IGNORED)[:, None]
    index_C1 = target_C.clamp(min=0)[:, None]
    # Softmax in place, so that one chunk of logits exists (two with a softcap).
    logits_CV -= logits_CV.amax(dim=1, keepdim=True)
    at_target_C1 = logits_CV.gather(1, index_C1)
    total_C1 = logits_CV.exp_().sum(dim=1, keepdim=True)
    nll = ((total_C1.log() - at_target_C1) * counts_C1).sum()
    grad_CV = logits_CV.mul_(counts_C1 / total_C1)
    grad_CV.scatter_add_(1, index_C1, -counts_C1.to(grad_CV.dtype))
    if tanh_CV is not None:
        grad_CV *= tanh_CV.square_().neg_().add_(1)  # derivative of the cap
    return nll, grad_CV
