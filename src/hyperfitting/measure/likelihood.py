"""How probable a text is. Shape letters: P positions, V vocabulary."""

import torch
from torch import Tensor


def token_nll_nats(logits_PV: Tensor, target_P: Tensor) -> Tensor:
    """-ln p(target) at each position, [P], in nats, in [0, inf); lower is more probable."""
    return torch.nn.functional.cross_entropy(logits_PV.float(), target_P, reduction="none")
