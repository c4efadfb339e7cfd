"""Cuts and temperatures that follow the shape of each distribution: min-k, p-less, dynamic.

Shape letters: B rows of a batch, V vocabulary, K largest logits.
"""

import torch
from torch import Tensor
from transformers.generation.logits_process import LogitsProcessor

from hyperfitting.generate.watching import Watching

FEW = 512  # the largest logits that are nearly always enough to find the steepest fall
EPSILON = 1e-8  # keeps min-k's quotient finite
ROUNDING = 1e-6  # of p-less, relative, so that equal probabilities all stay


class MinK(Watching):
    """Keeps the k largest logits, k = max(steepest fall, floor(tau / (R + 1e-8))).

    The steepest fall is the first i with the largest (z_i - z_(i+1)) / i of the sorted logits;
    R = z_1 - z_V, which the published weight divides by too, is the same for all i. Both are taken
    from the model's own logits, before penalties and temperature: the fall would be the same at
    any temperature, tau / R would not. Tokens that are banned, rows of a padded vocabulary among
    them, have no part in R, which would be infinite. Source: arXiv 2604.11012, algorithm 1.
    """

    def __init__(self, tau: float) -> None:
        self.tau = tau
        self._k_B: Tensor | None = None

    def watch(self, raw_BV: Tensor, rows: range, step: int) -> None:
        """See `Watching`."""
        self._k_B = min_k(raw_BV, self.tau)

    def __call__(self, input_ids: Tensor | None, scores: Tensor) -> Tensor:
        """Filtered logits, [B, V]; those equal to the k-th largest stay too."""
        k_B = min_k(scores, self.tau) if self._k_B is None else self._k_B
        largest_BK = scores.topk(int(k_B.max()), dim=-1).values
        least_B1 = largest_BK.gather(1, k_B[:, None] - 1)
        return scores.masked_fill(scores < least_B1, -torch.inf)


def min_k(logits_BV: Tensor, tau: float) -> Tensor:
    """How many of the largest logits min-k keeps, [B] int64, at least 1; see `MinK`."""
    allowed_BV = torch.isfinite(logits_BV)
    smallest_B = torch.where(allowed_BV, logits_BV, torch.inf).amin(dim=-1).double()
    number_B = allowed_BV.sum(dim=-1)
    few = min(FEW, logits_BV.shape[-1])
    largest_BK = logits_BV.topk(few, dim=-1).values.double()
    fall_B, place_B = _steepest_fall(largest_BK)
    # A later fall is at most what is left to fall, and weighs less.
    left_B = (largest_BK[:, -1] - smallest_B) / few
    if few < logits_BV.shape[-1] and bool((left_B > fall_B).any()):
        _, place_B = _steepest_fall(logits_BV.sort(dim=-1, descending=True).values.double())
    width_B = largest_BK[:, 0] - smallest_B
    at_least_B = (tau / (width_B + EPSILON)).clamp(max=2**53).floor().long()
    return torch.minimum(torch.maximum(place_B, at_least_B), number_B)


def _steepest_fall(sorted_BK: Tensor) -> tuple[Tensor, Tensor]:
    """The largest (z_i - z_(i+1)) / i between allowed tokens, and its first i, counted from 1."""
    if sorted_BK.shape[1] == 1:
        return torch.zeros_like(sorted_BK[:, 0]), torch.ones_like(sorted_BK[:, 0]).long()
    rank_K = torch.arange(1, sorted_BK.shape[1], device=sorted_BK.device)
    weight_BK = (sorted_BK[:, :-1] - sorted_BK[:, 1:]) / rank_K
    weight_BK = torch.where(torch.isfinite(sorted_BK[:, 1:]), weight_BK, -1)
    largest_B1 = weight_BK.amax(dim=-1, keepdim=True)
    first_B = torch.where(weight_BK == largest_B1, rank_K, sorted_BK.shape[1]).amin(dim=-1)
    return largest_B1[:, 0], first_B


class PLess(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Keeps tokens of at least the probability sum p^2, of what the temperature left.

    The sum is the chance that two draws agree; the most probable token always has as much, and
    of equally probable ones all stay. Source: arXiv 2509.23234.
    """

    def __call__(self, input_ids: Tensor | None, scores: Tensor) -> Tensor:
        """Filtered logits, [B, V]; -inf where a token was dropped."""
        logp_BV = scores.double().log_softmax(dim=-1)
        least_B1 = (2 * logp_BV).logsumexp(dim=-1, keepdim=True) - ROUNDING
        return scores.masked_fill(logp_BV < least_B1, -torch.inf)


class DynamicTemperature(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Logits / T, T = low + (high - low) x (H / ln V')^exponent.

    H is the entropy in nats, V' the number of tokens that are left; T = low where it is 1.
    Source: llama.cpp's dynatemp, with low and high instead of a temperature and its range.
    """

    def __init__(self, low: float, high: float, exponent: float) -> None:
        self.low, self.high, self.exponent = low, high, exponent

    def __call__(self, input_ids: Tensor | None, scores: Tensor) -> Tensor:
        """Logits at the row's temperature, [B, V]."""
        logp_BV = scores.log_softmax(dim=-1)
        entropy_B1 = -torch.where(torch.isfinite(logp_BV), logp_BV * logp_BV.exp(), 0).sum(
            dim=-1, keepdim=True
        )
        count_B1 = torch.isfinite(scores).sum(dim=-1, keepdim=True)
        share_B1 = (entropy_B1 / count_B1.clamp(min=2).log()).clamp(0, 1)
        return scores / (self.low + (self.high - self.low) * share_B1**self.exponent)
