"""Mirostat, version 2: sampling that steers its own surprise towards a target.

Shape letters: B rows of a batch, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hyperfitting.generate.filters import sampler


@dataclass
class Mirostat:
    """Drops tokens of surprise -log2 p > mu, draws, then mu <- mu - eta (S - tau).

    mu starts at 2 tau; everything is in bits. The most probable token always stays. S is the
    surprise of the drawn token among those kept, renormalised, as in llama.cpp's version 2.
    Source: Basu et al., arXiv 2007.14966 (version 1 estimates a top-k from Zipf's law instead);
    tau = 5, eta = 0.1 are llama.cpp's defaults.

    Every text has a mu of its own. Needs seeds, one for each row (ValueError without).
    """

    tau: float
    eta: float
    seeds_N: Sequence[Sequence[int]] | None
    temperature: float = 1.0  # of the logits, before anything else
    mu_B: Tensor = field(default_factory=lambda: torch.empty(0), init=False)

    def __post_init__(self) -> None:
        self._sample = sampler(self.seeds_N)

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Chooser`."""
        if step == 0:
            shape, device = (len(rows),), logits_BV.device
            self.mu_B = torch.full(shape, 2 * self.tau, dtype=torch.float64, device=device)
        logp_BV = (logits_BV / self.temperature).log_softmax(dim=-1)
        surprise_BV = logp_BV / -math.log(2)
        dropped_BV = surprise_BV > self.mu_B[:, None]
        dropped_BV.scatter_(1, logp_BV.argmax(dim=-1, keepdim=True), value=False)
        kept_BV = logp_BV.masked_fill(dropped_BV, -torch.inf)
        token_B, tied_B = self._sample(kept_BV, rows, step)
        own_B = kept_BV.gather(1, token_B[:, None])[:, 0].double()
        drawn_B = (kept_BV.logsumexp(dim=-1).double() - own_B) / math.log(2)
        self.mu_B = self.mu_B - self.eta * (drawn_B - self.tau)
        return token_B, tied_B
