"""Where the tuned model's words come from: their rank in the original (paper, section 3.4)."""

from typing import Any

import numpy as np

from hyperfitting.compare.scores import Counts, compare_rows
from hyperfitting.explain.subject import Subject
from hyperfitting.measure.ranks import rank_bin_shares, rank_histogram, shares_by_position
from hyperfitting.models.forward import rank_rows

BINS = ("rank_1", "rank_2_10", "rank_11_200", "rank_gt_200")


def provenance(subject: Subject) -> dict[str, Any]:
    """Ranks in the original of every token the tuned model wrote, on its own path.

    Ranks of the human text's tokens stand beside them.
    """
    contexts = subject.contexts.contexts
    rows = [[*c, *text] for c, text in zip(contexts, subject.tuned_texts, strict=True)]
    banned = subject.tokens.banned("fixed_length")
    with subject.progress.stage(f"ranks {subject.arm.name}", len(rows)) as stage:
        own = compare_rows(
            subject.pair, rows, subject.length, subject.vocabulary, banned=banned, stage=stage
        )
        human_NK = rank_rows(
            subject.pair.original, subject.human_rows, subject.length, banned=banned
        )
        largest = max(subject.vocabulary, int(own.chosen_rank_NK.max()), int(human_NK.max()))
        stage.update(len(rows), f"{own.chosen_rank_NK.size:,} tokens")
    return {
        "written": _described(subject, own.chosen_rank_NK, largest),
        "human": _described(subject, human_NK, largest),
        "ranks": own.chosen_rank_NK.tolist(),
        "tokens": subject.tuned_texts,
    }


def _described(subject: Subject, rank_NK: Counts, largest: int) -> dict[str, Any]:
    edges, counts = rank_histogram(rank_NK, largest=largest)
    shares = [rank_bin_shares(rank_K) for rank_K in rank_NK]
    return {
        "shares": {
            name: subject.interval(np.array([share[name] for share in shares])) for name in BINS
        },
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "by_position": dict(zip(BINS, shares_by_position(rank_NK).T.tolist(), strict=True)),
    }
