"""Does it override its original where that is unsure?

The paper (A.4) says that hyperfitting solidifies decisions of high entropy, where a draw is risky.
Shape letters: N contexts, K tokens of a continuation, V vocabulary, Q parts.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hyperfitting.compare.intervals import ALONE, ratio_of
from hyperfitting.compare.scores import PairScores
from hyperfitting.config import ExplainConfig
from hyperfitting.explain.subject import Subject
from hyperfitting.measure.overrides import part_of, sums_by_part
from hyperfitting.models.pair import PairedLogits
from hyperfitting.records.controls.overrides import Overrides, Part
from hyperfitting.records.estimates import Estimate, undefined

PARTS = 5
NO_ENTROPY = "the original's predictions have no entropy"
EMPTY = "so many entropies are equal that a part is empty"


@dataclass
class SurenessObserver:
    """Keeps how likely the original's choice is at every position of the human text."""

    num_contexts: int
    largest_NK: list[NDArray[np.float64] | None] = field(init=False)

    def __post_init__(self) -> None:
        self.largest_NK = [None] * self.num_contexts

    def __call__(self, found: PairedLogits, scores: PairScores) -> None:
        """Add one context."""
        largest_K = found.original_KV.softmax(dim=-1).amax(dim=-1)
        self.largest_NK[found.row] = largest_K.double().cpu().numpy()


def overrides(subject: Subject) -> Overrides:
    """Where the choices of both models differ, by fifths of the original's entropy."""
    entropy_NK = subject.forced.original.entropy_NK
    if np.isnan(entropy_NK).all():
        words = f"Nothing was counted: {NO_ENTROPY}."
        return Overrides(arm=subject.arm, rows=[], in_words=words, reason=NO_ENTROPY)
    part_NK = part_of(entropy_NK, PARTS)
    differs_NK = (subject.forced.original.top1_NK != subject.forced.tuned.top1_NK).astype(float)
    drawn_NK = 1 - np.array(subject.saw(SurenessObserver).largest_NK, dtype=float)
    differs_NQ, count_NQ = sums_by_part(differs_NK, part_NK, PARTS)
    drawn_NQ, _ = sums_by_part(drawn_NK, part_NK, PARTS)
    rows = [
        Part(
            low_nats=float(entropy_NK[part_NK == part].min()),
            high_nats=float(entropy_NK[part_NK == part].max()),
            positions=int(count_NQ[:, part].sum()),
            overridden=ratio_of(differs_NQ[:, part], count_NQ[:, part], subject.config),
            drawn=ratio_of(drawn_NQ[:, part], count_NQ[:, part], subject.config),
        )
        for part in range(PARTS)
        if count_NQ[:, part].any()
    ]
    is_whole = len(rows) == PARTS
    rise = rise_of(differs_NQ, count_NQ, subject.config) if is_whole else undefined(EMPTY)
    return Overrides(arm=subject.arm, rows=rows, rise=rise, in_words=in_words(rows, rise))


def rise_of(
    sum_NQ: NDArray[np.float64], count_NQ: NDArray[np.float64], config: ExplainConfig
) -> Estimate:
    """Rate in the last part minus rate in the first; both parts have positions.

    A draw without positions in one of them is left out.
    """
    sums_N2, counts_N2 = sum_NQ[:, [0, -1]], count_NQ[:, [0, -1]]
    first, last = sums_N2.sum(axis=0) / counts_N2.sum(axis=0)
    value, n = float(last - first), len(sums_N2)
    if n < 2:
        return Estimate(value=value, low=None, high=None, n=n, reason=ALONE)
    rng = np.random.default_rng(config.seed)
    times_RN = rng.multinomial(n, np.full(n, 1 / n), size=config.resamples)
    drawn_R2 = times_RN @ counts_N2
    is_whole_R = (drawn_R2 > 0).all(axis=1)
    rate_R2 = (times_RN @ sums_N2)[is_whole_R] / drawn_R2[is_whole_R]
    ends = [(1 - config.confidence) / 2, (1 + config.confidence) / 2]
    low, high = np.quantile(rate_R2[:, 1] - rate_R2[:, 0], ends)
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def in_words(rows: list[Part], rise: Estimate) -> str:
    """How often at the surest fifth and at the least sure one, and what a draw would do there."""
    first, last = rows[0], rows[-1]
    words = (
        f"The tuned model overrides the original's choice at {first.overridden.value:.2f} of the "
        f"positions where the original is surest, and at {last.overridden.value:.2f} where it is "
        f"least sure. One draw from the original would do so at {first.drawn.value:.2f} and "
        f"{last.drawn.value:.2f}."
    )
    if rise.low is None or rise.high is None:
        return words
    if rise.low > 0:
        as_drawn = (last.drawn.value or 0.0) > (first.drawn.value or 0.0)
        so_does = ", and so would a draw" if as_drawn else ""
        return f"{words} It overrides more where the original is unsure{so_does}."
    if rise.high < 0:
        return f"{words} It overrides less where the original is unsure."
    return f"{words} That it overrides more where the original is unsure is not shown."
