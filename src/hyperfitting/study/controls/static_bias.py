"""Is the change one constant shift of the logits?

Definitions, section 5; paper, section 3.5.
Cross-fitted: contexts are split into two halves, and those of one half are decoded with the shift
measured on the other, so no context is decoded with a shift that saw its text.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from hyperfitting.config import ExplainConfig
from hyperfitting.explain.localisation import share_of_gain
from hyperfitting.explain.static_bias import (
    ShiftStatistics,
    StaticShift,
    fraction_explained_in_words,
    injection,
    promoted,
    random_injection,
)
from hyperfitting.generate.choose import Shifted
from hyperfitting.measure.intervals import holm, sign_flip_p
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.pair import PairedLogits
from hyperfitting.study.compare import PairScores
from hyperfitting.study.controls.subject import Subject, Texts, variety, write_texts

NUM_SHOWN = 20  # promoted tokens listed by name
RANKED_LOGITS = 4096  # ranks at every position up to this vocabulary, at fewer beyond


def halves(count: int, seed: int) -> NDArray[np.int64]:
    """Which half each context belongs to, 0 or 1, [N]."""
    return (np.random.default_rng(seed).permutation(count) % 2).astype(np.int64)


@dataclass
class ShiftObserver:
    """Sums the change of the logits over each half of the contexts, on human text."""

    vocabulary: int
    half_N: NDArray[np.int64]
    sums: tuple[ShiftStatistics, ShiftStatistics] = field(init=False)

    def __post_init__(self) -> None:
        every = -(-self.vocabulary // RANKED_LOGITS)
        one, other = (ShiftStatistics(self.vocabulary, rank_positions=every) for _ in range(2))
        self.sums = (one, other)

    def __call__(self, found: PairedLogits, scores: PairScores) -> None:
        """Add one context."""
        words = (logits[:, : self.vocabulary] for logits in (found.original_KV, found.tuned_KV))
        self.sums[self.half_N[found.row]].add(*words)


@dataclass(frozen=True)
class Variant:
    """One thing that is added to the logits."""

    kind: str  # promoted, all or random
    strength: float
    draw: int = 0


def _variants(config: ExplainConfig) -> list[Variant]:
    found = [Variant("promoted", 0.0)]
    for kind, draws in (("promoted", 1), ("all", 1), ("random", config.random_draws)):
        found += [Variant(kind, s, d) for s in config.strengths for d in range(draws)]
    return found


def static_bias(subject: Subject, seen: ShiftObserver) -> dict[str, Any]:
    """Decode the original with every variant of the shift, and compare."""
    whole = (seen.sums[0] + seen.sums[1]).result()
    reason = None
    if whole.static_share is None:
        reason = "no logit changed"
    elif not all(half.positions for half in seen.sums):
        reason = "one context has no other to measure the shift on"
    if reason:
        in_words = fraction_explained_in_words(whole.static_share)
        nothing = {"in_words": in_words, "rows": [], "reason": reason}
        return {"static_share": whole.static_share, **nothing}
    variants = _variants(subject.config)
    texts = _decode(subject, seen, variants)
    special = set(subject.tokens.unwritable)
    shown = promoted(whole, count=NUM_SHOWN, excluded_ids=special).tolist()
    baseline = texts[0]
    rows = _rows(subject, variants, texts)
    return {
        "static_share": whole.static_share,
        "in_words": fraction_explained_in_words(whole.static_share),
        "promoted_tokens": _promoted_count(subject),
        "positions": whole.positions,
        "rank_positions": whole.rank_positions,
        "most_promoted": [
            {
                "id": i,
                "text": subject.tokens.tokenizer.decode([i]),
                "mean_rank_improvement": float(whole.improvement_V[i]),
                "mean_logit_shift": float(whole.shift_V[i]),
            }
            for i in shown
        ],
        "strength_0_equals_original": float(
            np.mean([a == b for a, b in zip(baseline, subject.original_texts, strict=True)])
        ),
        "rows": rows,
        "tuned": {name: subject.interval(v) for name, v in variety(subject.tuned_texts).items()},
        "verdict_in_words": _verdict(rows),
    }


def _decode(subject: Subject, seen: ShiftObserver, variants: list[Variant]) -> list[Texts]:
    """The continuations of every variant."""
    results = [sums.result() for sums in seen.sums]
    names = sorted({(v.kind, v.draw) for v in variants})
    shifts = [_shift(subject, results[1 - half], *name) for name in names for half in (0, 1)]
    columns = vocabulary_rows(subject.pair.original)
    shift_SV = torch.zeros(len(shifts), columns)
    for place, shift_V in enumerate(shifts):
        shift_SV[place, : len(shift_V)] = shift_V
    count = len(subject.contexts)
    choose = Shifted(
        shift_SV.to(subject.pair.original.device),
        [v.strength for v in variants for _ in range(count)],
        [2 * names.index((v.kind, v.draw)) + int(h) for v in variants for h in seen.half_N],
    )
    with subject.progress.stage(f"inject {subject.arm.name}", count * len(variants)) as stage:
        texts = write_texts(
            subject.pair.original,
            subject.contexts.contexts * len(variants),
            subject.tokens.for_model(subject.pair.original),
            subject.config,
            subject.length,
            choose=choose,
            stage=stage,
        )
        stage.update(len(texts), f"{len(variants)} shifts of the original's logits")
    return [texts[i * count : (i + 1) * count] for i in range(len(variants))]


def _shift(subject: Subject, result: StaticShift, kind: str, draw: int) -> Tensor:
    if kind == "all":
        return result.shift_V
    special = subject.tokens.unwritable
    ids = promoted(result, count=_promoted_count(subject), excluded_ids=special)
    delta_V = injection(result.shift_V, ids)
    if kind == "promoted":
        return delta_V
    return random_injection(delta_V, ids, _ordinary(subject), seed=subject.config.seed + draw)


def _ordinary(subject: Subject) -> list[int]:
    """Tokens that are a part of texts."""
    special = set(subject.tokens.unwritable)
    return [i for i in range(subject.vocabulary) if i not in special]


def _promoted_count(subject: Subject) -> int:
    """K, or half of a smaller vocabulary: random draws need as many others."""
    return min(subject.config.promoted_tokens, len(_ordinary(subject)) // 2)


def _rows(subject: Subject, variants: list[Variant], texts: list[Texts]) -> list[dict[str, Any]]:
    """One row per kind and strength; random draws are averaged per context."""
    original, tuned = variety(subject.original_texts), variety(subject.tuned_texts)
    kinds = dict.fromkeys((v.kind, v.strength) for v in variants)
    rows, values = [], []
    for kind, strength in kinds:
        found = [
            variety(each)
            for variant, each in zip(variants, texts, strict=True)
            if (variant.kind, variant.strength) == (kind, strength)
        ]
        mean = {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}
        values.append(mean["ttr"] - original["ttr"])
        ends = {"original": original["ttr"].mean(), "tuned": tuned["ttr"].mean()}
        rows.append(
            {"kind": kind, "strength": strength, "draws": len(found), "p_holm": None}
            | {name: subject.interval(value) for name, value in mean.items()}
            | {
                "ttr_minus_original": subject.interval(values[-1]),
                "share_of_gain": share_of_gain(float(mean["ttr"].mean()), **ends),
            }
        )
    flips = {"flips": subject.config.resamples, "seed": subject.config.seed}
    for row, p in zip(rows, holm([sign_flip_p(v, **flips) for v in values]), strict=True):
        row["p_holm"] = p
    return rows


def _verdict(rows: list[dict[str, Any]]) -> str:
    """Whether some strength of the promoted tokens' shift moves TTR towards the tuned model."""
    tried = [row for row in rows if row["kind"] == "promoted" and row["strength"] > 0]
    moved = [r for r in tried if r["p_holm"] < 0.05 and (r["share_of_gain"] or 0) > 0]
    if not moved:
        verdict = "No strength moves the original's TTR towards the tuned model (p < .05, Holm)"
    else:
        best = max(moved, key=lambda row: float(row["share_of_gain"]))
        verdict = (
            f"At strength {best['strength']:g} the shift of the promoted tokens alone gives "
            f"{best['share_of_gain']:.0%} of the gain in TTR"
        )
    ttrs = [row["ttr"]["mean"] for row in tried]
    if len(ttrs) > 2 and len(set(ttrs)) > 1:
        rho = stats.spearmanr([row["strength"] for row in tried], ttrs).statistic
        steps = np.diff(ttrs)
        one_way = "falls" if (steps < 0).all() else "rises" if (steps > 0).all() else None
        shape = f"TTR {one_way} with strength throughout" if one_way else "TTR is not monotonic"
        verdict += f". Rank correlation of strength and TTR {rho:+.2f}; {shape}"
    return verdict + "."
