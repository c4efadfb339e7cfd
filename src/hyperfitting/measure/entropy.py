"""How sharp a prediction is. Shape letters: P positions, V vocabulary."""

import torch
from torch import Tensor


def prediction_entropy_nats(logits_PV: Tensor) -> Tensor:
    """Entropy of softmax(logits) at each position, [P], in nats, in [0, ln V].

    H = -sum p ln p on float32 logits, after any soft cap of the model (definitions, section
    4.1). Low is sharp, neither good nor bad.
    """
    entropy_P: Tensor = torch.special.entr(logits_PV.float().softmax(dim=-1)).sum(dim=-1)
    return entropy_P
