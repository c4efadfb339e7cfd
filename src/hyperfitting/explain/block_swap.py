"""Where the effect lives: one model's last blocks on the other's lower ones (ours, causal)."""

from dataclasses import replace
from typing import Any

import numpy as np

from hyperfitting.config import ExplainConfig
from hyperfitting.errors import InputError
from hyperfitting.explain.subject import Columns, Subject, Texts, variety, write_texts
from hyperfitting.measure.gain import Gain, Share
from hyperfitting.measure.localisation import Swapped, locate, swap_in_words
from hyperfitting.measure.participation import Numbers
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.models.forward import score_rows
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.pair import swapped
from hyperfitting.records.controls.block_swap import (
    ORIGINAL_UPPER,
    TUNED_UPPER,
    BlockSwap,
    Hybrid,
    Placed,
    References,
)
from hyperfitting.records.controls.variety import Variety
from hyperfitting.records.estimates import GainEstimate

UPPER = (TUNED_UPPER, ORIGINAL_UPPER)
Hybrids = dict[tuple[str, int], Columns]  # by what is above, and its last blocks


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


def block_swap(subject: Subject) -> BlockSwap | None:
    """Continue contexts with hybrids; the upper part brings final norm and head along.

    `tuned_upper`: the last j blocks of the tuned model on the original's; `original_upper`: the
    reverse. Where all blocks that differ are taken over, the hybrid is the other model.
    None where no contexts are to be continued.
    """
    if subject.config.swap_contexts == 0:
        return None
    part = first_contexts(subject)
    hybrids = _hybrids(part)
    original, tuned = variety(part.original_texts), variety(part.tuned_texts)
    found = part.gain(original["ttr"], tuned["ttr"])
    same_N = _agreement(part, part.forced.original.top1_NK, part.forced.tuned.top1_NK)
    gained = {
        key: part.share(columns["ttr"], original["ttr"], tuned["ttr"], found)
        for key, columns in hybrids.items()
    }
    by_ttr, by_choices = _by_ttr(gained), _by_choices(part, hybrids, same_N)
    last = subject.pair.num_blocks
    return BlockSwap(
        arm=subject.arm,
        num_blocks=last,
        shared_blocks=subject.pair.shared_blocks,
        rows=[
            Hybrid(
                hybrid=upper, blocks=blocks,
                **part.intervals(hybrids[upper, blocks]),
                share_of_gain=share.value, share_of_gain_low=share.low,
                share_of_gain_high=share.high, share_of_gain_reason=share.reason,
            )
            for (upper, blocks), share in gained.items()
        ],
        references=References(
            original=Variety(**part.intervals(original)), tuned=Variety(**part.intervals(tuned))
        ),
        gain=GainEstimate(**found._asdict()),
        differing_choices=part.interval(1 - same_N),
        placed=_placed(found, same_N, by_ttr, by_choices),
        in_words=swap_in_words(
            by_ttr, by_choices, found, float(1 - same_N.mean()), num_blocks=last
        ),
    )  # fmt: skip


def first_contexts(subject: Subject) -> Subject:
    """The same with the contexts that hybrids continue."""
    count = subject.config.swap_contexts
    return replace(
        subject,
        contexts=subject.contexts.first(count),
        original_texts=subject.original_texts[:count],
        tuned_texts=subject.tuned_texts[:count],
    )


def _hybrids(part: Subject) -> Hybrids:
    """What every hybrid writes and chooses, both ways."""
    sizes = sorted(set(part.config.swap_blocks or range(part.pair.num_blocks + 1)))
    hybrids: Hybrids = {}
    with part.progress.stage(f"swap {part.arm.name}'s blocks", 2 * len(sizes)) as stage:
        for upper in UPPER:
            for blocks in sizes:
                hybrids[upper, blocks] = _hybrid(part, upper, blocks)
                stage.update(len(hybrids))
        stage.update(len(hybrids), f"{len(part.contexts)} contexts, {len(sizes)} sizes, both ways")
    return hybrids


def _agreement(part: Subject, one_NK: Any, two_NK: Any) -> Numbers:
    """Share of positions with the same choice, of the contexts that are swapped, [N]."""
    count = len(part.contexts)
    return np.asarray(top1_agreement(one_NK[:count], two_NK[:count]))


def _by_ttr(gained: dict[tuple[str, int], Share]) -> Swapped:
    """Where the gain in TTR comes, and where it goes."""
    tuned_upper, original_upper = (
        {blocks: found for (upper, blocks), found in gained.items() if upper == which}
        for which in UPPER
    )
    return Swapped(
        locate(tuned_upper), locate({j: found.left() for j, found in original_upper.items()})
    )


def _by_choices(part: Subject, hybrids: Hybrids, same_N: Numbers) -> Swapped:
    """Where the choices of the model above come; `same_N` is both models' agreement.

    That they differ anywhere needs no test, so every share has a value where they do.
    """
    differ = Gain(float(1 - same_N.mean()), None, None, None if (same_N < 1).any() else "alike")
    ones_N = np.ones_like(same_N)
    tuned_upper, original_upper = (
        {
            blocks: part.share(columns[f"top1_agreement_{above}"], same_N, ones_N, differ)
            for (upper, blocks), columns in hybrids.items()
            if upper == which
        }
        for which, above in zip(UPPER, ("tuned", "original"), strict=True)
    )
    return Swapped(locate(tuned_upper), locate(original_upper))


def _placed(found: Gain, same_N: Numbers, by_ttr: Swapped, by_choices: Swapped) -> Placed | None:
    """How many of the tuned model's last blocks bring its effect, by TTR where it has a gain.

    None where there is no effect by either. What was not tried between `too_few` and `enough`
    is not known.
    """
    if found.reason is not None and (same_N == 1).all():
        return None
    outcome, swapped = ("choices", by_choices) if found.reason else ("TTR", by_ttr)
    brings = swapped.brings
    return Placed(outcome=outcome, enough=brings.enough, too_few=brings.too_few)


def _hybrid(subject: Subject, upper: str, blocks: int) -> Columns:
    """Variety and agreement of one hybrid, per context."""
    pair, count = subject.pair, len(subject.contexts)
    one_NK = subject.forced.original.top1_NK[:count]
    two_NK = subject.forced.tuned.top1_NK[:count]
    takes_all = blocks >= pair.num_blocks - pair.shared_blocks
    if upper == TUNED_UPPER:
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
    return variety(texts) | {
        "top1_agreement_original": _agreement(subject, top1_NK, one_NK),
        "top1_agreement_tuned": _agreement(subject, top1_NK, two_NK),
    }
