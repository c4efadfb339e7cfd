"""Adaptive-p: draws tokens whose probability is near a target, corrected by those drawn before.

Shape letters: B rows of a batch, V vocabulary.
"""

import torch
from torch import Tensor

from hyperfitting.generate.watching import Watching

# llama.cpp's constants.
PEAK, SHARPNESS, WIDTH = 5.0, 10.0, 0.3


class AdaptiveP(Watching):
    """Logits 5 - 10 d^2 / (1 + d), d = |p - wanted| / 0.3, wanted = 2 target - mean, in [0, 1].

    The mean is that of the drawn tokens' p, each step's weight `decay` times that of the next;
    it starts at the target. p is what the filters before it left: the rule is the last one.
    Source: llama.cpp, PR 17927 (MIT). Every text has a mean of its own.
    """

    def __init__(self, target: float, decay: float) -> None:
        self.target, self.decay = target, decay
        self._sum_B = torch.empty(0)
        self._weight = 0.0
        self._p_BV: Tensor | None = None

    def watch(self, raw_BV: Tensor, rows: range, step: int) -> None:
        """See `Watching`."""
        if step == 0:
            self._weight = 1 / (1 - self.decay)
            start = self.target * self._weight
            self._sum_B = raw_BV.new_full((len(raw_BV),), start, dtype=torch.float64)
            self._p_BV = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits that are largest at the wanted probability, [B, V]; -inf stays."""
        if self._p_BV is not None:
            drawn_B = self._p_BV.gather(1, input_ids[:, -1:])[:, 0].double()
            self._sum_B = drawn_B + self.decay * self._sum_B
            self._weight = 1 + self.decay * self._weight
        self._p_BV = scores.softmax(dim=-1)
        wanted_B = (2 * self.target - self._sum_B / self._weight).clamp(0, 1)
        apart_BV = (self._p_BV - wanted_B[:, None].to(scores)).abs() / WIDTH
        shaped_BV = PEAK - SHARPNESS * apart_BV.square() / (1 + apart_BV)
        return shaped_BV.masked_fill(torch.isneginf(scores), -torch.inf)
