"""Where the tuned model's words come from: their rank in the original (paper, section 3.4)."""

import numpy as np

from hyperfitting.compare.scores import compare_rows
from hyperfitting.explain.subject import Subject
from hyperfitting.measure.ranks import rank_bin_shares, rank_histogram, shares_by_position
from hyperfitting.models.forward import rank_rows
from hyperfitting.records.arrays import Counts
from hyperfitting.records.controls.provenance import (
    RANK_CLASSES,
    ByRank,
    Histogram,
    Provenance,
    Ranks,
)
from hyperfitting.records.estimates import MeanEstimate


def provenance(subject: Subject) -> Provenance:
    """Ranks in the original of every token the tuned model wrote, on its own path.

    Ranks of the human text's tokens stand beside them.
    """
    contexts = subject.contexts.contexts
    rows = [[*c, *text] for c, text in zip(contexts, subject.tuned_texts, strict=True)]
    banned = subject.tokens.banned("fixed_length")
    with subject.progress.stage(f"ranks {subject.arm.in_full}", len(rows)) as stage:
        own = compare_rows(
            subject.pair, rows, subject.length, subject.vocabulary, banned=banned, stage=stage
        )
        human_NK = rank_rows(
            subject.pair.original, subject.human_rows, subject.length, banned=banned
        )
        largest = max(subject.vocabulary, int(own.chosen_rank_NK.max()), int(human_NK.max()))
        stage.update(len(rows), f"{own.chosen_rank_NK.size:,} tokens")
    return Provenance(
        arm=subject.arm,
        written=_ranks(subject, own.chosen_rank_NK, largest),
        human=_ranks(subject, human_NK, largest),
        ranks=own.chosen_rank_NK.tolist(),
        tokens=subject.tuned_texts,
    )


def _ranks(subject: Subject, rank_NK: Counts, largest: int) -> Ranks:
    edges, counts = rank_histogram(rank_NK, largest=largest)
    shares = [rank_bin_shares(rank_K) for rank_K in rank_NK]
    by_position = dict(zip(RANK_CLASSES, shares_by_position(rank_NK).T.tolist(), strict=True))
    return Ranks(
        shares=ByRank[MeanEstimate](
            **subject.intervals(
                {name: np.array([share[name] for share in shares]) for name in RANK_CLASSES}
            )
        ),
        histogram=Histogram(edges=edges.tolist(), counts=counts.tolist()),
        by_position=ByRank[list[float]](**by_position),
    )
