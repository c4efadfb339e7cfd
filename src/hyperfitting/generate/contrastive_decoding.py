"""Contrastive decoding: what a model likes better than a smaller one does.

Shape letters: B rows of a batch, T tokens of a row so far, V vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from hyperfitting.errors import InputError
from hyperfitting.generate.choose import greedy
from hyperfitting.generate.stepper import Stepper
from hyperfitting.models.types import CausalLM


@dataclass
class Contrast:
    """The largest ln p_expert - ln p_amateur among tokens with p_expert >= alpha max p_expert.

    p_amateur = softmax(logits / amateur_temperature). Source: Li et al., arXiv 2210.15097, with
    its alpha = 0.1; its amateur temperature is 0.5 or 1. Deterministic, one token after the
    other: the paper searches with 5 beams, and lets the amateur see the last token of the
    context only; here it sees all.

    Both models must have the same vocabulary: see `require_same_vocabulary`, which compares
    tokenizers. Logits of different width are taken where the further tokens are banned, since
    padded vocabularies differ within one family; an InputError says where they are not.
    """

    alpha: float
    amateur_temperature: float
    amateur: CausalLM
    _stepper: Stepper | None = field(default=None, init=False)

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Chooser`; a tie is one of the difference."""
        amateur_BV = self._amateur_logits(logits_BV, step, seen_BT)
        least_B1 = logits_BV.amax(dim=-1, keepdim=True) + math.log(self.alpha)
        # Normalising either side adds the same number to every token's score.
        score_BV = logits_BV - amateur_BV / self.amateur_temperature
        return greedy(score_BV.masked_fill(logits_BV < least_B1, -torch.inf), rows, step)

    def _amateur_logits(self, logits_BV: Tensor, step: int, seen_BT: Tensor) -> Tensor:
        vocabulary = logits_BV.shape[-1]
        if step == 0:
            contexts = [[i for i in row if i != vocabulary] for row in seen_BT.tolist()]
            self._stepper = Stepper(self.amateur, contexts)
        else:
            assert self._stepper is not None, "a batch starts with step 0"
            last_B = seen_BT[:, -1].clamp(max=vocabulary - 1)  # V where a logit is NaN
            self._stepper.append(last_B.to(self.amateur.device))
        amateur_BV = self._stepper.logits().to(logits_BV.device)[:, :vocabulary]
        known = amateur_BV.shape[-1]
        if known < vocabulary:
            if bool(torch.isfinite(logits_BV[:, known:]).any()):
                raise InputError(
                    f"the amateur model has {known:,} tokens, the model has {vocabulary:,}",
                    needed="an amateur with the same vocabulary",
                    hint="a smaller model of the same family",
                )
            amateur_BV = pad(amateur_BV, (0, vocabulary - known))
        return amateur_BV


def require_same_vocabulary(expert: Mapping[str, int], amateur: Mapping[str, int]) -> None:
    """Check that two tokenizers give every token the same id, as `get_vocab()` tells them.

    Raises:
        InputError: they differ.
    """
    apart = [token for token in expert.keys() | amateur.keys()
             if expert.get(token) != amateur.get(token)]  # fmt: skip
    if apart:
        raise InputError(
            f"the amateur model has another vocabulary: {len(apart):,} of "
            f"{len(expert.keys() | amateur.keys()):,} tokens differ, such as {min(apart)!r}",
            needed="an amateur whose tokens and ids are those of the model",
            hint="a smaller model of the same family",
        )
