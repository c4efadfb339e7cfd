"""What static injection says, in plain words. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from hyperfitting.measure.gain import Gain, Share, no_gain_in_words
from hyperfitting.measure.localisation import share_in_words

SIGNIFICANT = 0.05
SHIFTS = {"promoted": "the promoted tokens", "all": "all tokens", "random": "random tokens"}


class Injected(NamedTuple):
    """The original decoded with one shift at one strength, over all contexts.

    `beyond_random` is the TTR minus that of the same values on random tokens, None without
    such a control; `agreement` is with the tuned model's choices on human text, in [0, 1];
    `equal_texts` the share of texts that are the tuned model's.
    """

    kind: str  # promoted, all or random
    strength: float
    ttr: float
    share: Share
    p_holm: float | None
    beyond_random: Gain | None
    agreement: float
    equal_texts: float


def injection_in_words(rows: Sequence[Injected], found: Gain, *, same_texts: bool) -> str:
    """What adding the shift to the original does: texts, TTR beside its control, choices.

    `found` is the tuned model's gain in TTR; `same_texts` says that every text of the tuned
    model is the original's, so that no shift could show anything.
    """
    shifted = [row for row in rows if row.strength]
    sentences = []
    if same_texts:
        sentences.append(
            "The tuned model writes the original's texts, all of them: there is nothing in them "
            "for a shift to explain"
        )
    else:
        sentences += _equal_texts(shifted)
        sentences.append(no_gain_in_words(found) or _moved(shifted))
        sentences += _shape([row for row in shifted if row.kind == "promoted"])
    sentences += _choices(rows)
    return ". ".join(sentences) + "."


def _equal_texts(rows: Sequence[Injected]) -> list[str]:
    """Where a shift gives every text of the tuned model."""
    equal = [row for row in rows if row.equal_texts == 1 and row.kind != "random"]
    return [
        f"At strength {row.strength:g} the shift of {SHIFTS[row.kind]} gives the tuned model's "
        "texts, every one of them: here the change is one constant shift"
        for row in equal[:1]
    ]


def _moved(rows: Sequence[Injected]) -> str:
    """Whether the promoted tokens' shift moves TTR to the tuned model, and more than random's."""
    moved = [
        row
        for row in rows
        if row.kind == "promoted"
        and row.p_holm is not None
        and row.p_holm < SIGNIFICANT
        and row.share.value is not None
        and row.share.value > 0
    ]
    if not moved:
        return "No strength moves the original's TTR towards the tuned model (p < .05, Holm)"
    best = max(moved, key=lambda row: float(row.share.value or 0))
    control = next(
        (row for row in rows if row.kind == "random" and row.strength == best.strength), None
    )
    verdict = (
        f"At strength {best.strength:g} the shift of the promoted tokens alone gives "
        f"{share_in_words(best.share)} of the gain in TTR"
    )
    if control is None or best.beyond_random is None:
        return f"{verdict}; without a random control, which tokens matter is not known"
    beside = f"{verdict}, the same values on random tokens {share_in_words(control.share)}"
    has_more = float(best.share.value or 0) > float(control.share.value or 0)
    if best.beyond_random.reason is None and has_more:
        return f"{beside}: it matters which tokens are shifted"
    return (
        f"{beside}: the promoted tokens are not shown to do more than random ones, so TTR does not "
        "show that it matters which tokens are shifted"
    )


def _shape(promoted: Sequence[Injected]) -> list[str]:
    """Whether TTR follows the strength, where there are enough of them."""
    rho = strength_correlation([row.strength for row in promoted], [row.ttr for row in promoted])
    if rho is None:
        return []
    steps = np.diff([row.ttr for row in promoted])
    one_way = "falls" if (steps < 0).all() else "rises" if (steps > 0).all() else None
    shape = f"TTR {one_way} with strength throughout" if one_way else "TTR is not monotonic"
    return [f"Rank correlation of strength and TTR {rho:+.2f}; {shape}"]


def strength_correlation(strengths: Sequence[float], ttrs: Sequence[float]) -> float | None:
    """Spearman's rank correlation of strength and TTR, in [-1, 1]; None where it says nothing.

    Paper, section 3.5. It needs three strengths and two different TTRs.
    """
    if len(ttrs) < 3 or len(set(ttrs)) < 2:
        return None
    return float(stats.spearmanr(strengths, ttrs).statistic)


def _choices(rows: Sequence[Injected]) -> list[str]:
    """How far a shift brings the original's choices on human text to the tuned model's."""
    without = next((row for row in rows if not row.strength), None)
    tried = [row for row in rows if row.strength]
    if without is None or not tried:
        return []
    best = max(tried, key=lambda row: row.agreement)
    if without.agreement == 1:
        return ["On human text both models choose alike at every position"]
    start = f"On human text the original chooses as the tuned model at {without.agreement:.3f}"
    if best.agreement <= without.agreement:
        return [f"{start} of the positions, and no shift raises that"]
    end = "at every one" if best.agreement == 1 else f"at {best.agreement:.3f}"
    return [
        f"{start} of the positions, with a shift at most {end} "
        f"({SHIFTS[best.kind]}, strength {best.strength:g})"
    ]
