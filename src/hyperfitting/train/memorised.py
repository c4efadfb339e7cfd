"""How well a model in training knows its texts by heart: without decoding, on a few windows.

Shape letters: T predicted tokens of a window, V vocabulary.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.allocation import give_back_unused
from hyperfitting.measure.entropy import prediction_entropy_nats
from hyperfitting.measure.ranks import top_token
from hyperfitting.train.engine import Engine, Source, in_batches

# What stands before a token tells from which text it comes, and so which token it has to be. At the
# start of a window that is open: where every text begins with the same token, one of 127 predicted
# tokens is never known, and of 31 that is three in a hundred.
TOKENS_BEFORE = 4


class Memorised(NamedTuple):
    """Training tokens that the model ranks first, in [0, 1], and its mean entropy there in nats."""

    top1: float
    entropy: float


def spread_windows(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` windows, evenly spread over them: neighbours are of one text."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


@torch.no_grad()
def memorised(engine: Engine, source: Source, batch_size: int, most: int) -> Memorised:
    """Over labelled tokens of at most `most` training windows (definitions, section 7.2).

    Those with at least `TOKENS_BEFORE` tokens before them in their window; where there are none,
    all. It goes to what a model that knows its texts by heart has: 1 and nearly 0.
    """
    give_back_unused()  # what a step took, or the part of a monitoring point before
    picked = spread_windows(len(source), most)
    hits: list[Tensor] = []
    entropies: list[Tensor] = []
    told: list[Tensor] = []  # whether what stands before it tells which text it is
    rows = [picked[batch] for batch in in_batches(len(picked), batch_size)]
    for inputs, target_BT in source.batches(rows):
        # A window's logits are gone before the next one's are computed.
        for hit_P, entropy_P, told_P in map(_look, engine.logits(source, inputs), target_BT):
            hits.append(hit_P)
            entropies.append(entropy_P)
            told.append(told_P)
    hit, entropy, is_told = (torch.cat(each[: len(picked)]) for each in (hits, entropies, told))
    chosen = is_told if bool(is_told.any()) else torch.ones_like(is_told)
    return Memorised(float(hit[chosen].double().mean()), float(entropy[chosen].double().mean()))


def _look(logits_TV: Tensor, target_T: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each labelled token: if it comes first, the entropy there, and if its text is told."""
    counted = target_T >= 0
    before_T = torch.arange(1, len(target_T) + 1, device=target_T.device)
    each = (
        top_token(logits_TV) == target_T,
        prediction_entropy_nats(logits_TV),
        before_T >= TOKENS_BEFORE,
    )
    hit_P, entropy_P, told_P = (values_T[counted].cpu() for values_T in each)
    return hit_P, entropy_P, told_P
