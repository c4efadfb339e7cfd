"""Is the change one constant shift of the logits?

Definitions, section 5; paper, section 3.5.
Cross-fitted: contexts are split into two halves, and those of one half are decoded with the shift
measured on the other, so no context is decoded with a shift that saw its text.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperfitting.compare.intervals import as_fields
from hyperfitting.compare.scores import PairScores
from hyperfitting.explain.injecting import (
    Shifts,
    Variant,
    choices_of,
    promoted_count,
    texts_of,
    variants_of,
)
from hyperfitting.explain.subject import Subject, Texts, variety
from hyperfitting.measure.gain import Gain, Share
from hyperfitting.measure.injection import Injected, injection_in_words
from hyperfitting.measure.intervals import holm, sign_flip_p
from hyperfitting.measure.participation import Numbers
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.measure.static_share import ContextSums
from hyperfitting.measure.static_shift import (
    ShiftStatistics,
    StaticShift,
    fraction_explained_in_words,
    promoted,
)
from hyperfitting.models.pair import PairedLogits

NOTHING = "no logit changed"
FORBIDDEN = "a logit is minus infinity: such tokens have no change"
NUM_SHOWN = 20  # promoted tokens listed by name
RANKED_LOGITS = 4096  # ranks at every position up to this vocabulary, at fewer beyond


def halves(count: int, seed: int) -> NDArray[np.int64]:
    """Which half each context belongs to, 0 or 1, [N]."""
    return (np.random.default_rng(seed).permutation(count) % 2).astype(np.int64)


@dataclass
class ShiftObserver:
    """Sums the change of the logits over each half of the contexts, and over each context."""

    vocabulary: int
    half_N: NDArray[np.int64]
    sums: tuple[ShiftStatistics, ShiftStatistics] = field(init=False)
    by_context: ContextSums = field(init=False)
    is_undefined: bool = field(init=False, default=False)  # a logit was not finite

    def __post_init__(self) -> None:
        every = -(-self.vocabulary // RANKED_LOGITS)
        one, other = (ShiftStatistics(self.vocabulary, rank_every=every) for _ in range(2))
        self.sums = (one, other)
        self.by_context = ContextSums(len(self.half_N), self.vocabulary)

    def __call__(self, found: PairedLogits, scores: PairScores) -> None:
        """Add one context."""
        words = [logits[:, : self.vocabulary] for logits in (found.original_KV, found.tuned_KV)]
        if not all(bool(logits.isfinite().all()) for logits in words):
            self.is_undefined = True
            return
        change = self.sums[self.half_N[found.row]].add(*words)
        self.by_context.add(found.row, change)


def static_bias(subject: Subject, seen: ShiftObserver) -> dict[str, Any]:
    """Decode the original with every variant of the shift, and compare."""
    if seen.is_undefined:
        share = as_fields("static_share", Share(None, None, None, FORBIDDEN))
        in_words = f"The static share is undefined: {FORBIDDEN}."
        return share | {"in_words": in_words, "rows": [], "reason": FORBIDDEN}
    whole = (seen.sums[0] + seen.sums[1]).result()
    found = _share(subject, whole, seen.by_context)
    reason = None
    if whole.static_share is None:
        reason = NOTHING
    elif not all(half.positions for half in seen.sums):
        reason = "one context has no other to measure the shift on"
    if reason:
        return found | {"rows": [], "reason": reason}
    variants = variants_of(subject.config)
    shifts = Shifts.of(subject, seen.sums, seen.half_N, variants)
    columns = _columns(subject, shifts, variants)
    original, tuned = variety(subject.original_texts), variety(subject.tuned_texts)
    ttr_gain = subject.gain(original["ttr"], tuned["ttr"])
    rows = _rows(subject, columns, (original["ttr"], tuned["ttr"]), ttr_gain)
    baseline = columns["promoted", 0.0]["equals_original"]
    return found | {
        "promoted_tokens": promoted_count(subject),
        "positions": whole.positions,
        "rank_positions": whole.rank_positions,
        "most_promoted": _most_promoted(subject, whole),
        "strength_0_equals_original": float(baseline.mean()),
        "gain": ttr_gain._asdict(),
        "rows": rows,
        "tuned": {name: subject.interval(column) for name, column in tuned.items()},
        "verdict_in_words": injection_in_words(
            [_in_short(row) for row in rows],
            ttr_gain,
            same_texts=subject.original_texts == subject.tuned_texts,
        ),
    }


def _share(subject: Subject, whole: StaticShift, sums: ContextSums) -> dict[str, Any]:
    """The static share with its interval, in numbers and words."""
    config = subject.config
    low, high = sums.interval(
        whole.static_share, resamples=config.resamples, confidence=config.confidence,
        seed=config.seed,
    )  # fmt: skip
    reason = None
    if whole.static_share is None:
        reason = NOTHING
    elif low is None:
        reason = "one context has no interval"
    found = Share(whole.static_share, low, high, reason)
    in_words = fraction_explained_in_words(whole.static_share, low, high)
    return as_fields("static_share", found) | {"in_words": in_words}


def _most_promoted(subject: Subject, whole: StaticShift) -> list[dict[str, Any]]:
    special = set(subject.tokens.unwritable)
    return [
        {
            "id": i,
            "text": subject.tokens.tokenizer.decode([i]),
            "mean_rank_improvement": float(whole.improvement_V[i]),
            "mean_logit_shift": float(whole.shift_V[i]),
        }
        for i in promoted(whole, count=NUM_SHOWN, excluded_ids=special).tolist()
    ]


Columns = dict[tuple[str, float], dict[str, Numbers]]  # of each kind and strength


def _columns(subject: Subject, shifts: Shifts, variants: list[Variant]) -> Columns:
    """Every value of every context; random draws are averaged per context."""
    texts, choices = texts_of(subject, shifts, variants), choices_of(subject, shifts, variants)
    two_NK = subject.forced.tuned.top1_NK
    drawn: dict[tuple[str, float], list[dict[str, Numbers]]] = {}
    for variant, written, top1_NK in zip(variants, texts, choices, strict=True):
        values = variety(written) | {
            "top1_agreement_tuned": np.asarray(top1_agreement(top1_NK, two_NK)),
            "equals_tuned": _equal(written, subject.tuned_texts),
            "equals_original": _equal(written, subject.original_texts),
        }
        drawn.setdefault((variant.kind, variant.strength), []).append(values)
    return {
        key: {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}
        for key, found in drawn.items()
    }


def _equal(texts: Texts, others: Texts) -> Numbers:
    return np.array([a == b for a, b in zip(texts, others, strict=True)], dtype=float)


SHOWN = ("ttr", "bigram_repetition", "looped", "top1_agreement_tuned")


def _rows(
    subject: Subject, columns: Columns, ends: tuple[Numbers, Numbers], found: Gain
) -> list[dict[str, Any]]:
    """One row per kind and strength. Strength 0 changes nothing, so it is no test.

    `ends` are the TTRs of original and tuned model, `found` is their gain.
    """
    original, tuned = ends
    rows: list[dict[str, Any]] = []
    for (kind, strength), values in columns.items():
        control = columns.get(("random", strength)) if kind != "random" else None
        beyond = None if control is None else subject.gain(control["ttr"], values["ttr"])
        part = subject.share(values["ttr"], original, tuned, found)
        rows.append(
            {"kind": kind, "strength": strength, "p_holm": None}
            | {"draws": subject.config.random_draws if kind == "random" else 1}
            | {name: subject.interval(values[name]) for name in SHOWN}
            | {
                "equals_tuned": float(values["equals_tuned"].mean()),
                "ttr_minus_original": subject.interval(values["ttr"] - original),
                "ttr_minus_random": None if beyond is None else beyond._asdict(),
            }
            | as_fields("share_of_gain", part)
        )
    flips = {"flips": subject.config.resamples, "seed": subject.config.seed}
    tested = [row for row in rows if row["strength"]]
    changes = [columns[row["kind"], row["strength"]]["ttr"] - original for row in tested]
    for row, p in zip(tested, holm([sign_flip_p(c, **flips) for c in changes]), strict=True):
        row["p_holm"] = p
    return rows


def _in_short(row: dict[str, Any]) -> Injected:
    beyond = row["ttr_minus_random"]
    names = ("share_of_gain", "share_of_gain_low", "share_of_gain_high", "share_of_gain_reason")
    return Injected(
        row["kind"],
        row["strength"],
        row["ttr"]["mean"],
        Share(*(row[name] for name in names)),
        row["p_holm"],
        None if beyond is None else Gain(**beyond),
        row["top1_agreement_tuned"]["mean"],
        row["equals_tuned"],
    )
