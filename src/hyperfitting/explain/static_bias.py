"""Is the change one constant shift of the logits?

Definitions, section 5; paper, section 3.5.
Cross-fitted: contexts are split into two halves, and those of one half are decoded with the shift
measured on the other, so no context is decoded with a shift that saw its text. The paper's own
protocol, in sample, stands beside it and takes no part in the verdict.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hyperfitting.compare.scores import PairScores
from hyperfitting.explain.injecting import (
    IN_SAMPLE,
    Shifts,
    Variant,
    choices_of,
    promoted_count,
    texts_of,
    variants_of,
)
from hyperfitting.explain.subject import Columns, Subject, Texts, variety
from hyperfitting.measure.gain import Gain, Share
from hyperfitting.measure.injection import Injected, injection_in_words, strength_correlation
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
from hyperfitting.records.controls.static_bias import Injection, Promoted, StaticBias
from hyperfitting.records.controls.variety import Variety
from hyperfitting.records.estimates import GainEstimate

NOTHING = "no logit changed"
ALONE = "one context has no other to measure the shift on"
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


def static_bias(subject: Subject) -> StaticBias:
    """Decode the original with every variant of the shift, and compare."""
    seen = subject.saw(ShiftObserver)
    if seen.is_undefined:
        return _not_injected(
            subject,
            Share(None, None, None, FORBIDDEN),
            f"The static share is undefined: {FORBIDDEN}.",
            FORBIDDEN,
        )
    whole = (seen.sums[0] + seen.sums[1]).result()
    share = _share(subject, whole, seen.by_context)
    in_words = fraction_explained_in_words(*share[:3])
    if whole.static_share is None:
        return _not_injected(subject, share, in_words, NOTHING)
    if not all(half.positions for half in seen.sums):
        return _not_injected(subject, share, in_words, ALONE)
    variants = variants_of(subject.config)
    columns = _columns(subject, Shifts.of(subject, seen.sums, seen.half_N, variants), variants)
    original, tuned = variety(subject.original_texts), variety(subject.tuned_texts)
    found = subject.gain(original["ttr"], tuned["ttr"])
    rows = _rows(subject, columns, (original["ttr"], tuned["ttr"]), found)
    return StaticBias(
        arm=subject.arm,
        static_share=share.value,
        static_share_low=share.low,
        static_share_high=share.high,
        static_share_reason=share.reason,
        in_words=in_words,
        promoted_tokens=promoted_count(subject),
        positions=whole.positions,
        rank_positions=whole.rank_positions,
        most_promoted=_most_promoted(subject, whole),
        strength_0_equals_original=float(columns["promoted", 0.0]["equals_original"].mean()),
        gain=GainEstimate(**found._asdict()),
        rows=rows,
        tuned=Variety(**subject.intervals(tuned)),
        strength_ttr_spearman=_correlation(rows),
        verdict_in_words=injection_in_words(
            [_in_short(row) for row in rows if row.kind != IN_SAMPLE],
            found,
            same_texts=subject.original_texts == subject.tuned_texts,
        ),
    )


def _not_injected(subject: Subject, share: Share, in_words: str, reason: str) -> StaticBias:
    """The share alone, and why nothing was injected."""
    return StaticBias(
        arm=subject.arm, in_words=in_words, rows=[], reason=reason,
        static_share=share.value, static_share_low=share.low, static_share_high=share.high,
        static_share_reason=share.reason,
    )  # fmt: skip


def _share(subject: Subject, whole: StaticShift, sums: ContextSums) -> Share:
    """The static share with its interval."""
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
    return Share(whole.static_share, low, high, reason)


def _most_promoted(subject: Subject, whole: StaticShift) -> list[Promoted]:
    special = set(subject.tokens.unwritable)
    return [
        Promoted(
            id=i,
            text=subject.tokens.tokenizer.decode([i]),
            mean_rank_improvement=float(whole.improvement_V[i]),
            mean_logit_shift=float(whole.shift_V[i]),
        )
        for i in promoted(whole, count=NUM_SHOWN, excluded_ids=special).tolist()
    ]


ByVariant = dict[tuple[str, float], Columns]  # of each kind and strength


def _columns(subject: Subject, shifts: Shifts, variants: list[Variant]) -> ByVariant:
    """Every value of every context; random draws are averaged per context."""
    texts, choices = texts_of(subject, shifts, variants), choices_of(subject, shifts, variants)
    two_NK = subject.forced.tuned.top1_NK
    drawn: dict[tuple[str, float], list[Columns]] = {}
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
    subject: Subject, columns: ByVariant, ends: tuple[Numbers, Numbers], found: Gain
) -> list[Injection]:
    """One row per kind and strength. Strength 0 changes nothing, so it is no test.

    What is in sample is a family of its own: it shall not cost the others their p-values.
    `ends` are the TTRs of original and tuned model, `found` is their gain.
    """
    original, tuned = ends
    flips = {"flips": subject.config.resamples, "seed": subject.config.seed}
    p_of: dict[tuple[str, float], float | None] = {}
    for in_sample in (False, True):
        tested = [key for key in columns if key[1] and (key[0] == IN_SAMPLE) == in_sample]
        found_p = holm([sign_flip_p(columns[key]["ttr"] - original, **flips) for key in tested])
        p_of |= dict(zip(tested, found_p, strict=True))
    rows = []
    for (kind, strength), values in columns.items():
        part = subject.share(values["ttr"], original, tuned, found)
        rows.append(
            Injection(
                kind=kind,
                strength=strength,
                p_holm=p_of.get((kind, strength)),
                draws=subject.config.random_draws if kind == "random" else 1,
                **subject.intervals({name: values[name] for name in SHOWN}),
                equals_tuned=float(values["equals_tuned"].mean()),
                ttr_minus_original=subject.interval(values["ttr"] - original),
                ttr_minus_random=_beyond_random(subject, columns, kind, strength),
                share_of_gain=part.value, share_of_gain_low=part.low,
                share_of_gain_high=part.high, share_of_gain_reason=part.reason,
            )
        )  # fmt: skip
    return rows


def _beyond_random(
    subject: Subject, columns: ByVariant, kind: str, strength: float
) -> GainEstimate | None:
    """TTR minus that of random tokens of the same strength; None without such a control."""
    control = columns.get(("random", strength)) if kind != "random" else None
    if control is None:
        return None
    return GainEstimate(**subject.gain(control["ttr"], columns[kind, strength]["ttr"])._asdict())


def _correlation(rows: list[Injection]) -> float | None:
    """Of the promoted tokens' strength and their TTR; strength 0 is none that is injected."""
    found = [row for row in rows if row.kind == "promoted" and row.strength]
    ttrs = [row.ttr.value for row in found if row.ttr.value is not None]
    return strength_correlation([row.strength for row in found], ttrs)


def _in_short(row: Injection) -> Injected:
    part, beyond = row.gained, row.ttr_minus_random
    assert row.ttr.value is not None
    assert row.top1_agreement_tuned.value is not None
    assert row.equals_tuned is not None
    return Injected(
        row.kind,
        row.strength,
        row.ttr.value,
        Share(part.value, part.low, part.high, part.reason),
        row.p_holm,
        None if beyond is None else Gain(beyond.value, beyond.low, beyond.high, beyond.reason),
        row.top1_agreement_tuned.value,
        row.equals_tuned,
    )
