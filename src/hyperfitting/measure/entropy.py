"""How sharp a prediction is. Shape letters: P positions, C of them, V vocabulary."""

import torch
from torch import Tensor

CHUNK = 2**18  # logits worked on at a time on a CPU, so that they stay in its cache
LOWEST = -1e4  # a product of a probability of 0 and a masked logit (-inf) would be NaN


def prediction_entropy_nats(logits_PV: Tensor) -> Tensor:
    """Entropy of softmax(logits) at each position, [P], in nats, in [0, ln V].

    H = -sum p ln p on float32 logits, after any soft cap of the model (definitions, section
    4.1). Low is sharp, neither good nor bad.
    """
    step = len(logits_PV)
    if logits_PV.device.type == "cpu":
        step = max(1, CHUNK // logits_PV.shape[-1])
    parts = [_entropy(logits_PV[start : start + step]) for start in range(0, len(logits_PV), step)]
    return torch.cat(parts) if parts else logits_PV.new_zeros(0, dtype=torch.float32)


def _entropy(logits_CV: Tensor) -> Tensor:
    """Ln sum exp y - sum y exp y / sum exp y, with y the logits less the largest."""
    logits_CV = logits_CV.float()
    below_CV = logits_CV - logits_CV.amax(dim=-1, keepdim=True)
    weight_CV = below_CV.exp()
    total_C = weight_CV.sum(dim=-1)
    return total_C.log() - weight_CV.mul_(below_CV.clamp_(min=LOWEST)).sum(dim=-1) / total_C
