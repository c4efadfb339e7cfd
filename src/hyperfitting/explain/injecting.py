"""The original with a constant shift of its logits: what it writes, and what it chooses.

Contexts of one half get the shift that was measured on the other, but for the kind `in_sample`,
which is the paper's: measured on all contexts, those it is added to among them. Shape letters: N
contexts, K tokens of a continuation, S shifts, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.compare.scores import without
from hyperfitting.config import ExplainConfig
from hyperfitting.explain.subject import Subject, Texts, write_texts
from hyperfitting.generate.choose import Shifted
from hyperfitting.measure.ranks import top_token
from hyperfitting.measure.static_shift import (
    ShiftStatistics,
    StaticShift,
    injection,
    promoted,
    random_injection,
)
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.pair import PairedLogits, make_pair, paired_logits

IN_SAMPLE = "in_sample"


@dataclass(frozen=True)
class Variant:
    """One thing that is added to the logits."""

    kind: str  # promoted, in_sample, all or random
    strength: float
    draw: int = 0


def variants_of(config: ExplainConfig) -> list[Variant]:
    """No shift, then every kind at every strength."""
    found = [Variant("promoted", 0.0)]
    draws = {"promoted": 1, IN_SAMPLE: 1, "all": 1, "random": config.random_draws}
    for kind, count in draws.items():
        found += [Variant(kind, s, d) for s in config.strengths for d in range(count)]
    return found


@dataclass(frozen=True)
class Shifts:
    """Every shift of the variants, once for each half of the contexts."""

    shift_SV: Tensor  # as wide as the original's logits
    names: list[tuple[str, int]]  # kind and draw of two rows each
    half_N: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        subject: Subject,
        sums: Sequence[ShiftStatistics],
        half_N: NDArray[np.int64],
        variants: Sequence[Variant],
    ) -> "Shifts":
        """The shifts of one half of the contexts for the other; of both for `in_sample`."""
        crossed = [each.result() for each in reversed(sums)]
        both = [(sums[0] + sums[1]).result()] * 2
        names = sorted({(v.kind, v.draw) for v in variants})
        found = [
            shift_of(subject, result, *name)
            for name in names
            for result in (both if name[0] == IN_SAMPLE else crossed)
        ]
        shift_SV = torch.zeros(len(found), vocabulary_rows(subject.pair.original))
        for place, shift_V in enumerate(found):
            shift_SV[place, : len(shift_V)] = shift_V
        return cls(shift_SV.to(subject.pair.original.device), names, half_N)

    def place(self, variant: Variant, context: int) -> int:
        """The row of the shift that a context gets."""
        return 2 * self.names.index((variant.kind, variant.draw)) + int(self.half_N[context])


def shift_of(subject: Subject, result: StaticShift, kind: str, draw: int) -> Tensor:
    """What strength 1 adds to the logits, [V]."""
    if kind == "all":
        return result.shift_V
    special = subject.tokens.unwritable
    ids = promoted(result, count=promoted_count(subject), excluded_ids=special)
    delta_V = injection(result.shift_V, ids)
    if kind in ("promoted", IN_SAMPLE):
        return delta_V
    return random_injection(delta_V, ids, _ordinary(subject), seed=subject.config.seed + draw)


def _ordinary(subject: Subject) -> list[int]:
    """Tokens that are a part of texts."""
    special = set(subject.tokens.unwritable)
    return [i for i in range(subject.vocabulary) if i not in special]


def promoted_count(subject: Subject) -> int:
    """K, or half of a smaller vocabulary: random draws need as many others."""
    return min(subject.config.promoted_tokens, len(_ordinary(subject)) // 2)


def texts_of(subject: Subject, shifts: Shifts, variants: Sequence[Variant]) -> list[Texts]:
    """The continuations of every variant; none that is the original's own is written anew."""
    contexts, own = subject.contexts.contexts, subject.original_texts
    kept_RN = _keeps_text(subject, shifts, variants)
    missing = [(v, n) for v, kept_N in enumerate(kept_RN) for n in np.flatnonzero(~kept_N).tolist()]
    choose = Shifted(
        shifts.shift_SV,
        [variants[v].strength for v, _ in missing],
        [shifts.place(variants[v], n) for v, n in missing],
    )
    with subject.progress.stage(f"inject {subject.arm.in_full}", len(missing)) as stage:
        written = write_texts(
            subject.pair.original,
            [contexts[n] for _, n in missing],
            subject.tokens.for_model(subject.pair.original),
            subject.config,
            subject.length,
            choose=choose,
            stage=stage,
        )
        stage.update(
            len(missing),
            f"{len(variants)} shifts of the original's logits, {kept_RN.mean():.0%} of the texts "
            "as without",
        )
    known = dict(zip(missing, written, strict=True))
    return [[known.get((v, n), own[n]) for n in range(len(contexts))] for v in range(len(variants))]


def _keeps_text(subject: Subject, shifts: Shifts, variants: Sequence[Variant]) -> NDArray[np.bool_]:
    """Whether the original, shifted, would choose its own text again, token for token, [R, N].

    R variants. What is chosen after a text's first tokens depends on these alone, so then the
    shifted text is the text.
    """
    texts = subject.original_texts
    rows = [a + b for a, b in zip(subject.contexts.contexts, texts, strict=True)]
    banned = subject.tokens.for_model(subject.pair.original).banned("fixed_length")
    chosen = _choices(subject, shifts, variants, rows, banned)
    return np.array([(top1_NK == np.array(texts)).all(axis=1) for top1_NK in chosen])


def choices_of(
    subject: Subject, shifts: Shifts, variants: Sequence[Variant]
) -> list[NDArray[np.int64]]:
    """What the original chooses on human text under every variant, [N, K] each.

    Among the tokens that both models have a logit for, as the scores of `subject.forced` are.
    """
    unknown = range(subject.pair.num_logits, vocabulary_rows(subject.pair.original))
    return _choices(subject, shifts, variants, subject.human_rows, unknown)


@torch.no_grad()
def _choices(
    subject: Subject,
    shifts: Shifts,
    variants: Sequence[Variant],
    rows: Texts,
    banned: Sequence[int],
) -> list[NDArray[np.int64]]:
    """What the original would choose as the last K tokens of rows, [N, K] for each variant."""
    top1 = [np.empty((len(rows), subject.length), dtype=np.int64) for _ in variants]
    alone = make_pair(subject.pair.original, subject.pair.original)

    def choose(found: PairedLogits) -> None:
        logits_KV = without(found.original_KV, banned)
        for top1_NK, variant in zip(top1, variants, strict=True):
            shift_V = shifts.shift_SV[shifts.place(variant, found.row)]
            chosen_K = top_token(logits_KV + variant.strength * shift_V)
            top1_NK[found.row] = chosen_K.cpu().numpy()

    for _ in map(choose, paired_logits(alone, rows, subject.length)):
        pass
    return top1
