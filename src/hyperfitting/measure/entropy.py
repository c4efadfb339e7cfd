"""How sharp a prediction is. Shape letters: P positions, C of them, V vocabulary."""

import torch
from torch import Tensor

# Logits worked on at a time, so that they stay in a processor's cache, or fill a GPU. The
# temporary memory is about twelve bytes for each.
CHUNK, CHUNK_ELSEWHERE = 2**18, 2**24
LOWEST = -1e4  # a product of a probability of 0 and a masked logit (-inf) would be NaN


def prediction_entropy_nats(logits_PV: Tensor) -> Tensor:
    """Entropy of softmax(logits) at each position, [P], in nats, in [0, ln V].

    H = -sum p ln p on float32 logits, after any soft cap of the model (definitions, section
    4.1). Low is sharp, neither good nor bad.
    """
    parts = [_entropy(logits_PV[chunk]) for chunk in chunks(logits_PV, len(logits_PV))]
    return torch.cat(parts) if parts else logits_PV.new_zeros(0, dtype=torch.float32)


def chunks(logits_PV: Tensor, rows: int) -> list[slice]:
    """Which of `rows` positions are worked on together; at least one at a time."""
    size = CHUNK if logits_PV.device.type == "cpu" else CHUNK_ELSEWHERE
    step = max(1, size // logits_PV.shape[-1])
    return [slice(start, start + step) for start in range(0, rows, step)]


def _entropy(logits_CV: Tensor) -> Tensor:
    """Ln sum exp y - sum y exp y / sum exp y, with y the logits less the largest."""
    logits_CV = logits_CV.float()
    below_CV = logits_CV - logits_CV.amax(dim=-1, keepdim=True)
    weight_CV = below_CV.exp()
    total_C = weight_CV.sum(dim=-1)
    return total_C.log() - weight_CV.mul_(below_CV.clamp_(min=LOWEST)).sum(dim=-1) / total_C
