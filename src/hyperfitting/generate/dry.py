"""DRY: a penalty on the token that would lengthen a run which the text has already.

Shape letters: B rows of a batch, T tokens of a row so far, S = T - 1 earlier ones, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from hyperfitting.generate.watching import Watching

BREAKERS = ("\n", ":", '"', "*")  # llama.cpp's default
LARGEST = 1e30  # of a penalty, which caps its exponent: float32 holds it


class Dry(Watching):
    """z_v - multiplier x base^(l(v) - allowed_length) for tokens with l(v) >= allowed_length.

    l(v) is the length of the longest suffix of context and continuation that stood earlier
    directly before v and holds no breaker. A token with one of `BREAKERS` in its text is a
    breaker, and never penalised. The exponent is capped so that logits stay finite. Greedy stays
    deterministic. Source: llama.cpp, PR 9702 (MIT), whose range may be shorter than the text.

    Cost: for each token one pass over the positions so far. The suffix that ends at an earlier
    position i is one longer than the one that ended at i - 1 a token ago, or 0.

    Raises:
        ValueError: breakers, but not the text of every token.
    """

    def __init__(
        self,
        multiplier: float,
        base: float,
        allowed_length: float,
        breakers: float,
        *,
        texts_V: Sequence[str] | None = None,
    ) -> None:
        if breakers and texts_V is None:
            raise ValueError("the breakers of dry need the text of every token")
        texts = texts_V if breakers and texts_V is not None else ()
        self.breaker_ids = [n for n, text in enumerate(texts) if any(b in text for b in BREAKERS)]
        self.multiplier, self.base, self.allowed_length = multiplier, base, int(allowed_length)
        growth = math.log(base)
        # Further than any text where the penalty does not grow.
        self.largest_exponent = math.log(LARGEST / multiplier) / growth if growth else 2**31
        self._length_BT: Tensor | None = None
        self._is_breaker_V: Tensor | None = None

    def watch(self, raw_BV: Tensor, rows: range, step: int) -> None:
        """See `Watching`."""
        if step:
            return
        self._length_BT = None
        vocabulary = raw_BV.shape[-1]
        is_breaker_V = torch.zeros(vocabulary + 1, dtype=torch.bool)
        is_breaker_V[[n for n in self.breaker_ids if n < vocabulary]] = True
        is_breaker_V[vocabulary] = True  # the padding
        self._is_breaker_V = is_breaker_V.to(raw_BV.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Penalised logits, [B, V]."""
        assert self._is_breaker_V is not None, "a batch starts with step 0"
        known = 0 if self._length_BT is None else self._length_BT.shape[1]
        for end in range(known + 1, input_ids.shape[1] + 1):
            self._length_BT = grown(self._length_BT, input_ids[:, :end], self._is_breaker_V)
        assert self._length_BT is not None
        next_BS = input_ids[:, 1:]
        penalty_BS = self._penalty(self._length_BT[:, :-1], next_BS)
        penalty_BV = scores.new_zeros(len(scores), scores.shape[-1] + 1)
        penalty_BV.scatter_reduce_(1, next_BS, penalty_BS.to(scores), "amax")
        return scores - penalty_BV[:, :-1]

    def _penalty(self, length_BS: Tensor, next_BS: Tensor) -> Tensor:
        """What each earlier position takes off the token that stood after it, [B, S]."""
        assert self._is_breaker_V is not None
        over_BS = length_BS - self.allowed_length
        exponent_BS = over_BS.double().clamp(max=self.largest_exponent)
        is_penalised_BS = (over_BS >= 0) & ~self._is_breaker_V[next_BS]
        return torch.where(is_penalised_BS, self.multiplier * self.base**exponent_BS, 0)


def grown(length_BT: Tensor | None, ids_BT: Tensor, is_breaker_V: Tensor) -> Tensor:
    """How many tokens up to each position are those at the end of the row, [B, T] int64.

    `length_BT` are these lengths for the row without its last token (None: nothing is known, and
    the row has one token); breakers have length 0. The last position is the end itself.
    """
    if length_BT is None:
        length_BT = ids_BT[:, :0]
    last_B1 = ids_BT[:, -1:]
    goes_on_BT = (ids_BT == last_B1) & ~is_breaker_V[last_B1]
    return torch.where(goes_on_BT, pad(length_BT, (1, 0)) + 1, 0)
