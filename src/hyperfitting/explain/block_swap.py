"""Where the effect lives: one model's last blocks on the other's lower ones (ours, causal)."""

from dataclasses import replace
from typing import Any

import numpy as np

from hyperfitting.config import ExplainConfig
from hyperfitting.errors import InputError
from hyperfitting.explain.hybrids import Seen, see_hybrids
from hyperfitting.explain.subject import Columns, Subject, variety
from hyperfitting.measure.gain import Gain, Share
from hyperfitting.measure.localisation import Swapped, locate, swap_in_words
from hyperfitting.measure.participation import Numbers
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.models.pair import Pair
from hyperfitting.models.routed import HybridParts
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
    wanted = [(upper, blocks) for upper in UPPER for blocks in sizes]
    known = {each: seen for each in wanted if (seen := _is_other_model(part, *each)) is not None}
    missing = [each for each in wanted if each not in known]
    with part.progress.stage(f"swap {part.arm.in_full}'s blocks", len(wanted)) as stage:
        made = [_hybrid(part.pair, *each) for each in missing]
        known |= zip(missing, see_hybrids(part, made, stage), strict=True)
        stage.update(len(wanted), f"{len(part.contexts)} contexts, {len(sizes)} sizes, both ways")
    return {each: _columns(part, known[each]) for each in wanted}


def _hybrid(pair: Pair, upper: str, blocks: int) -> HybridParts:
    """One model's last blocks, final norm and head on the other's embedding and lower blocks."""
    lower = range(pair.num_blocks - blocks)
    is_tuned = upper == TUNED_UPPER
    tuned = set(range(pair.num_blocks)) - set(lower) if is_tuned else set(lower)
    return HybridParts(embedding=not is_tuned, blocks=frozenset(tuned), ends=is_tuned)


def _is_other_model(part: Subject, upper: str, blocks: int) -> Seen | None:
    """What the model above writes and chooses, where the hybrid is that model; else None."""
    pair, count = part.pair, len(part.contexts)
    if not pair.shared_blocks or blocks < pair.num_blocks - pair.shared_blocks:
        return None
    if upper == TUNED_UPPER:
        return Seen(part.tuned_texts, part.forced.tuned.top1_NK[:count])
    return Seen(part.original_texts, part.forced.original.top1_NK[:count])


def _columns(part: Subject, seen: Seen) -> Columns:
    """Variety of a hybrid's texts and its agreement with both models, per context."""
    return variety(seen.texts) | {
        "top1_agreement_original": _agreement(part, seen.top1_NK, part.forced.original.top1_NK),
        "top1_agreement_tuned": _agreement(part, seen.top1_NK, part.forced.tuned.top1_NK),
    }


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
