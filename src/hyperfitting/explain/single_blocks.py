"""What does a block bring alone, and what is missing without it?

Swapping the last blocks from the end cannot tell a block that matters from one that stands above
it. Here each is exchanged by itself.
"""

import numpy as np

from hyperfitting.explain.block_swap import first_contexts
from hyperfitting.explain.hybrids import Seen, see_hybrids
from hyperfitting.explain.subject import Columns, Subject, references, variety
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.models.pair import same_parts
from hyperfitting.models.routed import HybridParts
from hyperfitting.records.controls.single_blocks import PUT_IN, TAKEN_OUT, OneBlock, SingleBlocks

ENDS = None  # final norm and head, which are exchanged together


def single_blocks(subject: Subject) -> SingleBlocks | None:
    """Continue contexts with every such hybrid; None where no contexts are to be continued."""
    if subject.config.swap_contexts == 0:
        return None
    part = first_contexts(subject)
    differing = _differing(part)
    wanted = [(change, block) for change in (PUT_IN, TAKEN_OUT) for block in differing]
    with part.progress.stage(f"single blocks of {part.arm.in_full}", len(wanted)) as stage:
        made = [_hybrid(part.pair.num_blocks, change, block) for change, block in wanted]
        seen = see_hybrids(part, made, stage)
        stage.update(
            len(wanted), f"{len(part.contexts)} contexts, {len(differing)} parts, both ways"
        )
    rows = [
        OneBlock(
            change=change,
            block=block if block is ENDS else block + 1,
            **part.intervals(_columns(part, each)),
        )
        for (change, block), each in zip(wanted, seen, strict=True)
    ]
    both = references(part)
    assert both.agreement.value is not None
    return SingleBlocks(
        arm=part.arm,
        num_blocks=part.pair.num_blocks,
        shared_blocks=part.pair.shared_blocks,
        rows=rows,
        in_words=_in_words(rows, both.agreement.value),
        **both._asdict(),
    )


def _differing(part: Subject) -> list[int | None]:
    """The blocks in which the models differ, 0-based, then final norm and head where they do."""
    same, ends_are_same = same_parts(part.pair.original, part.pair.tuned)
    found: list[int | None] = [block for block in range(part.pair.num_blocks) if block not in same]
    return found if ends_are_same else [*found, ENDS]


def _hybrid(num_blocks: int, change: str, block: int | None) -> HybridParts:
    """A model with one block, or the ends, of the other."""
    into_tuned = change == TAKEN_OUT
    own = frozenset(range(num_blocks)) if into_tuned else frozenset()
    other = frozenset() if block is ENDS else frozenset({block})
    is_ends = block is ENDS
    return HybridParts(embedding=into_tuned, blocks=own ^ other, ends=into_tuned != is_ends)


def _columns(part: Subject, seen: Seen) -> Columns:
    """Variety of what one hybrid writes and its agreement with the tuned model, per context."""
    two_NK = part.forced.tuned.top1_NK[: len(part.contexts)]
    agreement_N = np.asarray(top1_agreement(seen.top1_NK, two_NK))
    return variety(seen.texts) | {"top1_agreement_tuned": agreement_N}


def _in_words(rows: list[OneBlock], agreement: float) -> str:
    """Which block brings most alone, and without which most is missing, by the choices."""
    if not rows:
        return "The models do not differ in any block, nor in final norm and head."
    most = max((row for row in rows if row.change == PUT_IN), key=_agreement)
    least = min((row for row in rows if row.change == TAKEN_OUT), key=_agreement)
    raised = (
        f"{_named(most)} of the tuned model alone, put into the original, raises that most: to"
        if _agreement(most) > agreement
        else "No single block of the tuned model, put into the original, raises that: "
        f"{_named(most)} comes nearest, with"
    )
    taken = (
        f"{_named(least)} of the original, put into the tuned model, takes most away: its choices "
        f"stay at {_agreement(least):.3f} (TTR {least.ttr.value:.3f})."
        if _agreement(least) < 1
        else "No single block of the original, put into the tuned model, changes its choices."
    )
    return (
        f"On human text both models choose alike at {agreement:.3f} of the positions. {raised} "
        f"{_agreement(most):.3f} (TTR {most.ttr.value:.3f}). {taken}"
    )


def _agreement(row: OneBlock) -> float:
    assert row.top1_agreement_tuned.value is not None
    return row.top1_agreement_tuned.value


def _named(row: OneBlock) -> str:
    return "Final norm and head" if row.block is None else f"Block {row.block}"
