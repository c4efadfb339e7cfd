"""What kind of token each rank class promotes, on human text (paper, section 6)."""

from collections.abc import Sequence

import numpy as np

from hyperfitting.explain.subject import Subject
from hyperfitting.measure.token_kinds import (
    FUNCTION_WORDS_VERSION,
    KINDS,
    Kind,
    RankClassRow,
    TokenKinds,
    avoids_repeat,
    completing_tokens,
    rank_class_table,
)
from hyperfitting.models.tokens import token_texts
from hyperfitting.records.controls.tokens import ChosenKinds, ChosenOfClass
from hyperfitting.records.estimates import MeanEstimate


def token_kinds(subject: Subject) -> ChosenKinds:
    """Kinds of the tuned model's choices under teacher forcing, one row per rank class.

    Shares are per context, then averaged, with their intervals.
    """
    texts, starts_word = token_texts(subject.tokens.tokenizer, subject.vocabulary)
    # Rows beyond the tokenizer may be chosen on human text, and have no text.
    padding = subject.pair.num_logits - subject.vocabulary
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
    return ChosenKinds(
        arm=subject.arm,
        function_words_version=FUNCTION_WORDS_VERSION,
        rows=[_of_class(subject, of_contexts) for of_contexts in zip(*tables, strict=True)],
    )


def _of_class(subject: Subject, of_contexts: Sequence[RankClassRow]) -> ChosenOfClass:
    def mean(values: list[float | None]) -> MeanEstimate:
        return subject.interval(np.array(values, dtype=float))

    return ChosenOfClass(
        rank_class=of_contexts[0].rank_class,
        tokens=sum(row.n for row in of_contexts),
        share=mean([row.n / subject.length for row in of_contexts]),
        kinds={kind: mean([row.kinds[kind] for row in of_contexts]) for kind in KINDS},
        seen_before=mean([row.seen_before for row in of_contexts]),
        avoids_repeat=mean([row.avoids_repeat for row in of_contexts]),
    )
