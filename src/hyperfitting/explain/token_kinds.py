"""What kind of token each rank class promotes, on human text (paper, section 6)."""

from typing import Any

import numpy as np

from hyperfitting.explain.subject import Subject
from hyperfitting.measure.token_kinds import (
    FUNCTION_WORDS_VERSION,
    KINDS,
    Kind,
    TokenKinds,
    avoids_repeat,
    completing_tokens,
    rank_class_table,
)
from hyperfitting.models.tokens import token_texts


def token_kinds(subject: Subject) -> dict[str, Any]:
    """Kinds of the tuned model's choices under teacher forcing, one row per rank class.

    Shares are per context, then averaged, with their intervals.
    """
    texts, starts_word = token_texts(subject.tokens.tokenizer, subject.vocabulary)
    padding = (
        subject.pair.num_logits - subject.vocabulary
    )  # may be chosen on human text; has no text
    texts, starts_word = texts + [""] * padding, starts_word + [False] * padding
    inside = TokenKinds.from_texts(texts, starts_word)
    at_start = TokenKinds.from_texts(texts, [True] * len(texts))
    tables = []
    for n, row in enumerate(subject.human_rows):
        start = len(row) - subject.length
        tuned_K = subject.forced.tuned.top1_NK[n].tolist()
        original_K = subject.forced.original.top1_NK[n].tolist()
        kinds: list[Kind] = []
        for place, token in enumerate(tuned_K):
            before = texts[row[start + place - 1]][-1:] if start + place else ""
            known = inside if before.isalnum() else at_start
            kinds += known.of([token])
        seen = np.array([token in row[: start + i] for i, token in enumerate(tuned_K)])
        avoids = avoids_repeat(original_K, tuned_K, completing_tokens(row, start))
        tables.append(rank_class_table(subject.forced.chosen_rank_NK[n], kinds, seen, avoids))
    return {
        "function_words_version": FUNCTION_WORDS_VERSION,
        "rows": [
            _mean_row(subject, [table[index] for table in tables])
            for index in range(len(tables[0]))
        ],
    }


def _mean_row(subject: Subject, rows: list[Any]) -> dict[str, Any]:
    def mean(values: list[float | None]) -> Any:
        return subject.interval(np.array(values, dtype=float))

    return {
        "rank_class": rows[0].rank_class,
        "tokens": sum(row.n for row in rows),
        "share": subject.interval(np.array([row.n / subject.length for row in rows])),
        "kinds": {kind: mean([row.kinds[kind] for row in rows]) for kind in KINDS},
        "seen_before": mean([row.seen_before for row in rows]),
        "avoids_repeat": mean([row.avoids_repeat for row in rows]),
    }
