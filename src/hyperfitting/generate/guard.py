"""GUARD: top-k sampling whose k and repetition penalty follow the entropy of the text so far.

Shape letters: B rows of a batch, T tokens of a row so far, K candidates, S steps so far,
V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hyperfitting.generate.filters import sampler

EPSILON = 1e-4  # keeps quotients and atanh finite
LARGEST_K = 15  # 10 sigmoid + 5


@dataclass
class Guard:
    """Draws from the k_t most probable tokens, each p x alpha_t^(earlier occurrences).

    Occurrences are counted in context and continuation. k_t (5 to 14) and alpha_t (0 to 1) come
    from the entropies of this one text: `window` w recent ones against their median, and that
    against all of them with weights `decay`^age. Source: Ding et al., GUARD, arXiv 2508.20757,
    written from its formulas and from the described behaviour of YecanLee/GUARD, which differ;
    this follows the code:
    - medians take in the current step, and of an even number the lower middle value; the
      published ones leave the current step out and use a median of past global entropies;
    - the token is drawn; choosing the largest weight is not offered;
    - `temperature` acts on the weights, after they are formed, as where transformers samples;
      texts there say 0.9, code 1.0.
    Ours: weights are formed as logarithms, so many occurrences cannot make all of them 0.

    Every text has a state of its own. Needs seeds, one for each row (ValueError without).
    """

    window: int
    decay: float
    seeds_N: Sequence[Sequence[int]] | None
    temperature: float = 1.0
    _entropy: list[Tensor] = field(default_factory=list, init=False)  # one [B] a step

    def __post_init__(self) -> None:
        self._sample = sampler(self.seeds_N, self.temperature)

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Chooser`."""
        if step == 0:
            self._entropy = []
        logp_BV = logits_BV.log_softmax(dim=-1)
        p_BV = logp_BV.exp()
        # The formula's own 1e-5 inside the logarithm; it also makes banned tokens count 0.
        self._entropy.append(-(p_BV * (p_BV + 1e-5).log()).sum(dim=-1).double())
        k_B, alpha_B = adjusted(
            torch.stack(self._entropy, dim=1),
            vocabulary=logits_BV.shape[-1], window=self.window, decay=self.decay,
        )  # fmt: skip
        logp_BK, token_BK = logp_BV.topk(min(LARGEST_K, logits_BV.shape[-1]), dim=-1)
        count_BK = (seen_BT[:, :, None] == token_BK[:, None, :]).sum(dim=1)
        weight_BK = logp_BK + (count_BK * alpha_B.log()[:, None]).to(logp_BK)
        place_K = torch.arange(token_BK.shape[1], device=token_BK.device)
        weight_BK = weight_BK.masked_fill(place_K >= k_B[:, None], -torch.inf)
        place_B, tied_B = self._sample(weight_BK, rows, step)
        return token_BK.gather(1, place_B[:, None])[:, 0], tied_B


def adjusted(
    entropy_BS: Tensor, *, vocabulary: int, window: int, decay: float
) -> tuple[Tensor, Tensor]:
    """k_t and alpha_t of each row, [B] int64 and [B] in (0, 1), from its entropies in nats.

    The last entropy is the current step's. Source: see `Guard`.
    """
    steps = entropy_BS.shape[1]
    ages_S = torch.arange(steps - 1, -1, -1, device=entropy_BS.device, dtype=entropy_BS.dtype)
    weight_S = decay**ages_S
    global_B = (entropy_BS * weight_S).sum(dim=1) / weight_S.sum()
    now_B = entropy_BS[:, -1]
    change_B = torch.zeros_like(now_B)
    if steps > 1:
        before_B = entropy_BS[:, -2]
        change_B = ((now_B - before_B).abs() / (before_B + EPSILON)).clamp(0, 1)
    if steps < window:
        local_B = now_B - _median(entropy_BS)
        drift_B = apart_B = torch.zeros_like(now_B)
    else:
        local_B = now_B - _median(entropy_BS[:, -window:])
        recent_B = _median(entropy_BS[:, -(window - 1) :])
        drift_B = recent_B - global_B
        apart_B = (drift_B.abs() / (recent_B + EPSILON)).clamp(0, 1)
    q_B = 0.9 + 0.1 * (1 + change_B + apart_B)
    largest_B = torch.full_like(now_B, math.log(vocabulary))
    k_B = 10 * _mixed(local_B, drift_B, largest_B, q_B).sigmoid() + 5
    alpha_B = _mixed(local_B, drift_B, (k_B + EPSILON).log(), q_B).sigmoid()
    return k_B.long(), alpha_B


def _median(values_BS: Tensor) -> Tensor:
    """Median of each row, of an even number the lower of the two middle values."""
    return values_BS.median(dim=1).values


def _mixed(local_B: Tensor, drift_B: Tensor, scale_B: Tensor, q_B: Tensor) -> Tensor:
    """Both deviations, stretched to the whole line and weighed by the local one's share."""
    bound = 1 - EPSILON
    local_B = q_B * (local_B / scale_B).clamp(-bound, bound).atanh()
    drift_B = q_B * (drift_B / scale_B).clamp(-bound, bound).atanh()
    share_B = local_B.abs() / (drift_B.abs() + local_B.abs() + EPSILON)
    return share_B * local_B + (1 - share_B) * drift_B
