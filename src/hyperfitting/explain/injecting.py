"""The original with a constant shift of its logits: what it writes, and what it chooses.

Contexts of one half get the shift that was measured on the other. Shape letters: N contexts, K
tokens of a continuation, S shifts, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.config import ExplainConfig
from hyperfitting.explain.subject import Subject, Texts, write_texts
from hyperfitting.generate.choose import Shifted
from hyperfitting.measure.static_shift import (
    ShiftStatistics,
    StaticShift,
    injection,
    promoted,
    random_injection,
)
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.pair import make_pair, paired_logits


@dataclass(frozen=True)
class Variant:
    """One thing that is added to the logits."""

    kind: str  # promoted, all or random
    strength: float
    draw: int = 0


def variants_of(config: ExplainConfig) -> list[Variant]:
    """No shift, then every kind at every strength."""
    found = [Variant("promoted", 0.0)]
    for kind, draws in (("promoted", 1), ("all", 1), ("random", config.random_draws)):
        found += [Variant(kind, s, d) for s in config.strengths for d in range(draws)]
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
        """The shifts of one half of the contexts for the other."""
        results = [each.result() for each in sums]
        names = sorted({(v.kind, v.draw) for v in variants})
        found = [shift_of(subject, results[1 - half], *name) for name in names for half in (0, 1)]
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
    if kind == "promoted":
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
    """The continuations of every variant."""
    count = len(subject.contexts)
    choose = Shifted(
        shifts.shift_SV,
        [v.strength for v in variants for _ in range(count)],
        [shifts.place(v, n) for v in variants for n in range(count)],
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


@torch.no_grad()
def choices_of(
    subject: Subject, shifts: Shifts, variants: Sequence[Variant]
) -> list[NDArray[np.int64]]:
    """What the original chooses on human text under every variant, [N, K] each.

    Among the tokens that both models have a logit for, as the scores of `subject.forced` are.
    """
    shape = (len(subject.contexts), subject.length)
    top1 = [np.empty(shape, dtype=np.int64) for _ in variants]
    known = subject.pair.num_logits
    alone = make_pair(subject.pair.original, subject.pair.original)
    for found in paired_logits(alone, subject.human_rows, subject.length):
        logits_KV = found.original_KV[:, :known]
        for top1_NK, variant in zip(top1, variants, strict=True):
            shift_V = shifts.shift_SV[shifts.place(variant, found.row), :known]
            chosen_K = (logits_KV + variant.strength * shift_V).argmax(dim=-1)
            top1_NK[found.row] = chosen_K.cpu().numpy()
    return top1
