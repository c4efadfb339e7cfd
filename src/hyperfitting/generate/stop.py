"""Greedy decoding that ends a text where vLLM's repetition detection would.

Shape letters: B rows of a batch, T tokens of a row so far, P sizes of patterns.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from hyperfitting.errors import InputError
from hyperfitting.generate.decode import decode
from hyperfitting.generate.texts import Decoded
from hyperfitting.measure.loops import StopRule
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage


class RepetitionStop:
    """Says which texts have come to the end of their last repeat, one token after the other.

    Looks at generated tokens only, as the rule does; for each token one look at each size.
    """

    def __init__(self, rule: StopRule) -> None:
        self.rule = rule
        self._run_BP: Tensor | None = None  # tokens in a row that are those a size before

    def __call__(self, written_BT: Tensor) -> Tensor:
        """Whether each text stops at its last token, [B]; one token starts a new batch."""
        batch, length = written_BT.shape
        size_P = torch.arange(
            self.rule.min_pattern_size, self.rule.max_pattern_size + 1, device=written_BT.device
        )
        if length == 1 or self._run_BP is None:
            self._run_BP = size_P.new_zeros(batch, len(size_P))
        earlier_P = length - 1 - size_P
        repeats_BP = written_BT[:, earlier_P.clamp(min=0)] == written_BT[:, -1:]
        repeats_BP &= earlier_P >= 0
        self._run_BP = torch.where(repeats_BP, self._run_BP + 1, 0)
        return (self._run_BP >= size_P * (self.rule.min_count - 1)).any(dim=1)


def rule_of(max_pattern_size: float, min_pattern_size: float, min_count: float) -> StopRule:
    """The rule with these parameters of the table.

    Raises:
        InputError: the smallest pattern is larger than the largest.
    """
    if min_pattern_size > max_pattern_size:
        raise InputError(
            f"min_pattern_size of the decoder stop is {min_pattern_size:g}, max_pattern_size "
            f"{max_pattern_size:g}",
            needed="a smallest size that is at most the largest",
        )
    return StopRule(int(max_pattern_size), int(min_pattern_size), int(min_count))


def greedy_until_repetition(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    *,
    max_pattern_size: float,
    min_pattern_size: float,
    min_count: float,
    max_new_tokens: int,
    banned: Sequence[int] = (),
    ends: Collection[int] = (),
    batch_size: int = 32,
    stage: Stage | None = None,
) -> list[Decoded]:
    """Greedy texts, each cut after the token at which vLLM's rule would end it.

    Where no token may end a text (fixed length) the rule may not either. Source: see `StopRule`;
    an end token or the cap comes first, as there.

    Raises:
        InputError: sizes that contain no pattern.
    """
    rule = rule_of(max_pattern_size, min_pattern_size, min_count)
    return decode(
        model, contexts, max_new_tokens=max_new_tokens, banned=banned, ends=ends,
        batch_size=batch_size, stage=stage, stop=RepetitionStop(rule) if ends else None,
    )  # fmt: skip
