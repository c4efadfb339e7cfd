"""Penalties on tokens that were seen: additive ones, and the multiplicative one on log p.

Shape letters: B rows of a batch, T tokens of a row so far, V vocabulary.
"""

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)


class FrequencyPenalty(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Logits minus `amount` x how often each token stands in context and continuation.

    Source: llama.cpp and mlx-lm, which look at the last tokens only; here all count.
    """

    def __init__(self, amount: float) -> None:
        self.amount = amount

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Penalised logits, [B, V]."""
        return scores - self.amount * _counts(input_ids, scores)


class PresencePenalty(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Logits minus `amount` where a token stands in context or continuation, however often.

    Source: see `FrequencyPenalty`.
    """

    def __init__(self, amount: float) -> None:
        self.amount = amount

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Penalised logits, [B, V]."""
        return scores - self.amount * _counts(input_ids, scores).clamp(max=1)


class NormalisedRepetitionPenalty(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Log-probabilities of seen tokens times `penalty`; those of the others as they are.

    All are at most 0, so a penalty above 1 always makes a seen token less likely, and adding a
    number to all logits changes nothing. Source: arXiv 2607.09791.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Penalised log-probabilities, not normalised again, [B, V]."""
        logp_BV = scores.log_softmax(dim=-1)
        logp_BT = logp_BV.gather(1, input_ids)
        return logp_BV.scatter(1, input_ids, logp_BT * self.penalty)


def repetition_penalty(penalty: float, normalised: float = 0) -> LogitsProcessor:
    """The repetition penalty of transformers, or the `normalised` one."""
    if normalised:
        return NormalisedRepetitionPenalty(penalty)
    return RepetitionPenaltyLogitsProcessor(penalty)


def _counts(seen_BT: Tensor, logits_BV: Tensor) -> Tensor:
    """How often each token was seen, [B, V]."""
    return torch.zeros_like(logits_BV).scatter_add(
        1, seen_BT, torch.ones_like(seen_BT, dtype=logits_BV.dtype)
    )
