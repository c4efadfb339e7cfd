"""Where the effect lives: one model's last blocks on the other's lower ones (ours, causal)."""

from dataclasses import replace
from typing import Any

import numpy as np

from hyperfitting.config import ExplainConfig
from hyperfitting.errors import InputError
from hyperfitting.explain.localisation import swap_in_words
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.models.forward import score_rows
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.pair import swapped
from hyperfitting.study.controls.subject import Subject, Texts, variety, write_texts


def check_sizes(config: ExplainConfig, num_blocks: int) -> None:
    """Refuse numbers of blocks that the model does not have.

    Raises:
        InputError: one outside 0..num_blocks.
    """
    outside = [j for j in config.swap_blocks or () if not 0 <= j <= num_blocks]
    if outside:
        raise InputError(
            f"explain.swap_blocks holds {outside[0]}, the model has {num_blocks} blocks",
            needed=f"numbers from 0 to {num_blocks}",
        )


def block_swap(subject: Subject) -> dict[str, Any]:
    """Continue contexts with hybrids; the upper part brings final norm and head along.

    `tuned_upper`: the last j blocks of the tuned model on the original's; `original_upper`: the
    reverse. Where all blocks that differ are taken over, the hybrid is the other model.
    """
    count = subject.config.swap_contexts
    part = replace(
        subject,
        contexts=replace(
            subject.contexts,
            contexts=subject.contexts.contexts[:count],
            continuations=subject.contexts.continuations[:count],
        ),
        original_texts=subject.original_texts[:count],
        tuned_texts=subject.tuned_texts[:count],
    )
    last = subject.pair.num_blocks
    sizes = sorted(set(subject.config.swap_blocks or range(last + 1)))
    rows: list[dict[str, Any]] = []
    with part.progress.stage(f"swap {part.arm.name}'s blocks", 2 * len(sizes)) as stage:
        for upper in ("tuned_upper", "original_upper"):
            for blocks in sizes:
                rows.append({"hybrid": upper, "blocks": blocks} | _hybrid(part, upper, blocks))
                stage.update(len(rows))
        stage.update(len(rows), f"{len(part.contexts)} contexts, {len(sizes)} sizes, both ways")
    references = {
        name: {k: part.interval(v) for k, v in variety(texts).items()}
        for name, texts in (("original", part.original_texts), ("tuned", part.tuned_texts))
    }
    curve = {
        upper: {row["blocks"]: row["ttr"]["mean"] for row in rows if row["hybrid"] == upper}
        for upper in ("tuned_upper", "original_upper")
    }
    return {
        "num_blocks": last,
        "shared_blocks": subject.pair.shared_blocks,
        "rows": rows,
        "references": references,
        "in_words": swap_in_words(
            curve["tuned_upper"],
            curve["original_upper"],
            original=references["original"]["ttr"]["mean"],
            tuned=references["tuned"]["ttr"]["mean"],
            num_blocks=last,
        ),
    }


def _hybrid(subject: Subject, upper: str, blocks: int) -> dict[str, Any]:
    """Variety and agreement of one hybrid."""
    pair, count = subject.pair, len(subject.contexts)
    one_NK = subject.forced.original.top1_NK[:count]
    two_NK = subject.forced.tuned.top1_NK[:count]
    takes_all = blocks >= pair.num_blocks - pair.shared_blocks
    if upper == "tuned_upper":
        lower, above = pair.original, pair.tuned
        known: tuple[Texts, Any] = (subject.tuned_texts, two_NK)
    else:
        lower, above = pair.tuned, pair.original
        known = (subject.original_texts, one_NK)
    if takes_all and pair.shared_blocks:
        texts, top1_NK = known
    else:
        tokens = subject.tokens.for_model(above)
        # Choices are among the tokens that both models have a logit for, as in `forced`.
        unknown = range(subject.pair.num_logits, vocabulary_rows(above))
        with swapped(lower, above, blocks) as hybrid:
            texts = write_texts(
                hybrid, subject.contexts.contexts, tokens, subject.config, subject.length
            )
            top1_NK = score_rows(hybrid, subject.human_rows, subject.length, banned=unknown).top1_NK
    return {name: subject.interval(values) for name, values in variety(texts).items()} | {
        "top1_agreement_original": subject.interval(np.asarray(top1_agreement(top1_NK, one_NK))),
        "top1_agreement_tuned": subject.interval(np.asarray(top1_agreement(top1_NK, two_NK))),
    }
