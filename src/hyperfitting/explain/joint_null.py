"""Is the change one temperature and one constant shift together?

z' = a z + b, of least squared error, cross-fitted: contexts are split into the halves of the static
bias, and those of one half are scored and decoded with the fit on the other. Shape letters: N
contexts, K tokens of a continuation, V vocabulary.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from hyperfitting.compare.scores import PairScores
from hyperfitting.explain.static_bias import ALONE, FORBIDDEN, NOTHING
from hyperfitting.explain.subject import Subject, Texts, references, variety, write_texts
from hyperfitting.generate.choose import Shifted
from hyperfitting.measure.affine import KINDS, Affine, AffineSums, Kind, unexplained
from hyperfitting.measure.gain import no_gain_in_words
from hyperfitting.measure.intervals import bootstrap_ratio
from hyperfitting.measure.participation import Numbers
from hyperfitting.measure.ranks import top1_agreement, top_token
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.pair import PairedLogits, paired_logits
from hyperfitting.records.controls.joint_null import FittedNull, JointNull
from hyperfitting.records.estimates import Estimate, GainEstimate

OPPOSITE = "a fitted scale is not above 0, which is no temperature"
Fits = tuple[Affine, Affine]  # for the contexts of each half, fitted on the other


@dataclass
class AffineObserver:
    """Sums both models' logits over each half of the contexts."""

    vocabulary: int
    half_N: NDArray[np.int64]
    sums: tuple[AffineSums, AffineSums] = field(init=False)
    is_undefined: bool = field(init=False, default=False)  # a logit was not finite

    def __post_init__(self) -> None:
        self.sums = (AffineSums(self.vocabulary), AffineSums(self.vocabulary))

    def __call__(self, found: PairedLogits, scores: PairScores) -> None:
        """Add one context."""
        words = [logits[:, : self.vocabulary] for logits in (found.original_KV, found.tuned_KV)]
        if not all(bool(logits.isfinite().all()) for logits in words):
            self.is_undefined = True
            return
        self.sums[self.half_N[found.row]].add(*words)


def joint_null(subject: Subject) -> JointNull:
    """Score, choose and decode with the original under every fit."""
    seen = subject.saw(AffineObserver)
    if seen.is_undefined:
        return _none(subject, FORBIDDEN)
    if not all(half.positions for half in seen.sums):
        return _none(subject, ALONE)
    fits: dict[Kind, Fits] = {
        kind: (seen.sums[1].fit(kind), seen.sums[0].fit(kind)) for kind in KINDS
    }
    if any(fit.scale <= 0 for of_halves in fits.values() for fit in of_halves):
        return _none(subject, OPPOSITE)
    scored = _score(subject, fits, seen.half_N)
    if not scored["joint"].change_N.any():
        return _none(subject, NOTHING)
    rows = [_row(subject, kind, fits[kind], scored[kind], seen.half_N) for kind in KINDS]
    one_N, two_N = (
        variety(texts)["ttr"] for texts in (subject.original_texts, subject.tuned_texts)
    )
    gain, both = subject.gain(one_N, two_N), references(subject)
    assert both.agreement.value is not None
    return JointNull(
        arm=subject.arm,
        rows=rows,
        gain=GainEstimate(**gain._asdict()),
        original=both.original,
        tuned=both.tuned,
        agreement_without=both.agreement,
        in_words=_in_words(rows, both.agreement.value, no_gain_in_words(gain)),
    )


def _none(subject: Subject, reason: str) -> JointNull:
    return JointNull(
        arm=subject.arm, rows=[], reason=reason, in_words=f"Nothing was fitted: {reason}."
    )


@dataclass
class _Scored:
    """What a fit leaves of the change of each context, and what it chooses."""

    left_N: Numbers
    change_N: Numbers
    top1_NK: NDArray[np.int64]


@torch.no_grad()
def _score(
    subject: Subject, fits: dict[Kind, Fits], half_N: NDArray[np.int64]
) -> dict[Kind, _Scored]:
    """One more pass of both models over the human text."""
    count, known = len(subject.contexts), subject.vocabulary
    scored = {
        kind: _Scored(
            np.zeros(count), np.zeros(count), np.zeros((count, subject.length), dtype=np.int64)
        )
        for kind in fits
    }

    def score(found: PairedLogits) -> None:
        words = (found.original_KV[:, :known], found.tuned_KV[:, :known])
        for kind, of_halves in fits.items():
            fit, into = of_halves[half_N[found.row]], scored[kind]
            into.left_N[found.row], into.change_N[found.row] = unexplained(fit, *words)
            chosen_K = top_token(fit.scale * words[0].double() + fit.shift_V.to(words[0].device))
            into.top1_NK[found.row] = chosen_K.cpu().numpy()

    for _ in map(score, paired_logits(subject.pair, subject.human_rows, subject.length)):
        pass
    return scored


def _row(
    subject: Subject, kind: Kind, fits: Fits, scored: _Scored, half_N: NDArray[np.int64]
) -> FittedNull:
    config = subject.config
    ratio = bootstrap_ratio(
        scored.left_N, scored.change_N, resamples=config.resamples,
        confidence=config.confidence, seed=config.seed,
    )  # fmt: skip
    low, high = (None if end is None else 1 - end for end in (ratio.high, ratio.low))
    texts = _texts(subject, kind, fits, half_N)
    agreement_N = np.asarray(top1_agreement(scored.top1_NK, subject.forced.tuned.top1_NK))
    equal = [a == b for a, b in zip(texts, subject.tuned_texts, strict=True)]
    return FittedNull(
        kind=kind,
        temperatures=[1 / fit.scale for fit in fits],
        share_explained=Estimate(
            value=1 - ratio.mean, low=low, high=high, n=len(texts),
            reason=None if low is not None else "one context has no interval",
        ),
        top1_agreement_tuned=subject.interval(agreement_N),
        equals_tuned=float(np.mean(equal)),
        **subject.intervals(variety(texts)),
    )  # fmt: skip


def _texts(subject: Subject, kind: Kind, fits: Fits, half_N: NDArray[np.int64]) -> Texts:
    """Greedy texts: the largest of a z + b is the largest of z + b / a, where a is above 0."""
    if kind == "temperature":
        return subject.original_texts
    count = len(subject.contexts)
    shift_SV = torch.zeros(2, vocabulary_rows(subject.pair.original))
    for half, fit in enumerate(fits):
        shift_SV[half, : len(fit.shift_V)] = fit.shift_V / fit.scale
    choose = Shifted(
        shift_SV.to(subject.pair.original.device), [1.0] * count, [int(half) for half in half_N]
    )
    with subject.progress.stage(f"{kind} null of {subject.arm.in_full}", count) as stage:
        texts = write_texts(
            subject.pair.original, subject.contexts.contexts,
            subject.tokens.for_model(subject.pair.original), subject.config, subject.length,
            choose=choose, stage=stage,
        )  # fmt: skip
        stage.update(count, f"{count} contexts, scale and shift fitted on the other half")
    return texts


def _in_words(rows: list[FittedNull], without: float, no_gain: str | None) -> str:
    """What the best of such nulls explains, chooses and writes."""
    shares = {row.kind: row.share_explained.value or 0.0 for row in rows}
    joint = next(row for row in rows if row.kind == "joint")
    assert joint.top1_agreement_tuned.value is not None
    assert joint.ttr.value is not None
    alone = f"temperature alone {_percent(shares['temperature'])}, shift alone"
    sentences = [
        f"One temperature and one constant shift together explain {_percent(shares['joint'])} "
        f"of the change of the logits ({alone} {_percent(shares['shift'])})",
        "On human text the original so changed chooses as the tuned model at "
        f"{joint.top1_agreement_tuned.value:.3f} of the positions, unchanged at {without:.3f}",
    ]
    if joint.equals_tuned == 1:
        sentences.append("Its greedy texts are the tuned model's, every one of them")
    elif no_gain:
        sentences.append(no_gain)
    else:
        sentences.append(f"Its greedy texts have a TTR of {joint.ttr.value:.3f}")
    return ". ".join(sentences) + "."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
