"""Is there a gain to speak of, and how much of it does a control bring?

A gain is a difference between the tuned model's and the original's values on the same contexts,
of either sign. Shape letter: N contexts.
"""

import math
from typing import NamedTuple

import numpy as np

from hyperfitting.measure.intervals import bootstrap_mean, sign_flip_p
from hyperfitting.measure.participation import Numbers


class Gain(NamedTuple):
    """Tuned minus original, mean over contexts, its interval, and why no share of it is given.

    `reason` is None where a test shows a difference; only then is anything a share of it.
    """

    value: float
    low: float | None
    high: float | None
    reason: str | None


class Share(NamedTuple):
    """A part of a gain, any number, with its interval; None throughout with the reason."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None

    def left(self) -> "Share":
        """What is missing to the whole gain: 1 minus the share."""
        value, low, high = (
            None if end is None else 1 - end for end in (self.value, self.high, self.low)
        )
        return Share(value, low, high, self.reason)


def fewest_contexts(confidence: float) -> int:
    """From how many contexts on a sign can be told at all, at this level; at least 2.

    If n contexts agree in a sign by chance, they do so once in 2 ^ (n - 1): below 6 contexts that
    is more than 5 %, and a bootstrap interval, which never leaves the sample, cannot know it.
    """
    return math.floor(1 - math.log2(1 - confidence)) + 1


def gain(
    original_N: Numbers, tuned_N: Numbers, *, resamples: int, confidence: float, seed: int
) -> Gain:
    """Whether the tuned model's mean differs from the original's on these contexts.

    It does if the bootstrap interval of the paired differences leaves out 0 and their sign-flip
    p is below 1 - confidence: of a handful of contexts a bootstrap interval is too narrow, and
    flips cannot reach a small p.

    Raises:
        ValueError: no contexts, or different numbers of them.
    """
    differences_N = np.subtract(tuned_N, original_N)
    value, low, high = bootstrap_mean(
        differences_N, resamples=resamples, confidence=confidence, seed=seed
    )
    if low is None or high is None:
        return Gain(value, None, None, "one context cannot show a gain")
    if not differences_N.any():
        return Gain(value, low, high, "no context has a gain")
    is_told = (low > 0 or high < 0) and sign_flip_p(
        differences_N, flips=resamples, seed=seed
    ) < 1 - confidence
    reason = None if is_told else "no gain is shown on these contexts"
    return Gain(value, low, high, reason)


def share_of_gain(value: float, original: float, tuned: float) -> float | None:
    """Where a value lies between the original's (0) and the tuned model's (1); None without gain.

    Any number: below 0 where it lies on the other side of the original, above 1 beyond the tuned.
    """
    return None if tuned == original else (value - original) / (tuned - original)


def share(
    value_N: Numbers,
    original_N: Numbers,
    tuned_N: Numbers,
    found: Gain,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Share:
    """The share of a gain that something brings, with a paired bootstrap over contexts.

    None with the reason where `found`, the gain of these columns, is not told from 0.

    Raises:
        ValueError: columns of different lengths.
    """
    if found.reason is not None:
        return Share(None, None, None, found.reason)
    original_N, tuned_N = np.asarray(original_N), np.asarray(tuned_N)
    mean = share_of_gain(*(float(np.mean(each)) for each in (value_N, original_N, tuned_N)))
    low, high = ratio_interval(
        np.subtract(value_N, original_N), tuned_N - original_N,
        resamples=resamples, confidence=confidence, seed=seed,
    )  # fmt: skip
    return Share(mean, low, high, None)


def ratio_interval(
    above_N: Numbers, below_N: Numbers, *, resamples: int, confidence: float, seed: int
) -> tuple[float | None, float | None]:
    """Percentile-bootstrap interval of mean(above) / mean(below) over the same N contexts.

    Each draw takes the same contexts for both, so what they share cancels. A draw in which the
    mean below is 0 has no ratio and is left out. None for fewer than two contexts, or where no
    draw has a ratio. Ask first whether the mean below is told from 0: near 0 the ratio of two
    means says nothing.

    Raises:
        ValueError: columns of different or no length, or values that are not finite.
    """
    columns_2N = np.stack([above_N, below_N])  # refuses different lengths
    contexts = columns_2N.shape[1]
    if contexts == 0 or not np.isfinite(columns_2N).all():
        raise ValueError(f"finite values are needed, got {above_N} and {below_N}")
    if contexts < 2:
        return None, None
    rng = np.random.default_rng(seed)
    draws_RN = rng.multinomial(contexts, np.full(contexts, 1 / contexts), size=resamples)
    above_R, below_R = (draws_RN @ column_N for column_N in columns_2N)
    ratio_R = above_R[below_R != 0] / below_R[below_R != 0]
    if not len(ratio_R):
        return None, None
    low, high = np.quantile(ratio_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def no_gain_in_words(found: Gain) -> str:
    """One sentence on why there is nothing to locate; empty where there is a gain."""
    if found.reason is None:
        return ""
    if found.reason == "no context has a gain":
        return "The tuned model's texts have the original's TTR in every context: no gain to locate"
    bounds = "" if found.low is None else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return (
        f"No gain in TTR to locate: tuned minus original {found.value:+.3f}{bounds}, {found.reason}"
    )
