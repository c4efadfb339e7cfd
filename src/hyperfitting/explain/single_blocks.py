"""What does a block bring alone, and what is missing without it?

Swapping the last blocks from the end cannot tell a block that matters from one that stands above
it. Here each is exchanged by itself.
"""

import numpy as np

from hyperfitting.explain.block_swap import first_contexts
from hyperfitting.explain.subject import Columns, Subject, variety, write_texts
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.models.forward import score_rows
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.pair import exchanged, same_parts
from hyperfitting.records.controls.single_blocks import PUT_IN, TAKEN_OUT, OneBlock, SingleBlocks
from hyperfitting.records.controls.variety import Variety

ENDS = None  # final norm and head, which are exchanged together


def single_blocks(subject: Subject) -> SingleBlocks | None:
    """Continue contexts with every such hybrid; None where no contexts are to be continued."""
    if subject.config.swap_contexts == 0:
        return None
    part = first_contexts(subject)
    differing = _differing(part)
    rows = []
    with part.progress.stage(f"single blocks of {part.arm.name}", 2 * len(differing)) as stage:
        for change in (PUT_IN, TAKEN_OUT):
            for block in differing:
                found = part.intervals(_hybrid(part, change, block))
                number = block if block is ENDS else block + 1
                rows.append(OneBlock(change=change, block=number, **found))
                stage.update(len(rows))
        stage.update(len(rows), f"{len(part.contexts)} contexts, {len(differing)} parts, both ways")
    count = len(part.contexts)
    agreement_N = np.asarray(
        top1_agreement(
            part.forced.original.top1_NK[:count], part.forced.tuned.top1_NK[:count]
        )
    )  # fmt: skip
    agreement = part.interval(agreement_N)
    original, tuned = (
        Variety(**part.intervals(variety(texts)))
        for texts in (part.original_texts, part.tuned_texts)
    )
    assert agreement.value is not None
    return SingleBlocks(
        arm=part.arm, num_blocks=part.pair.num_blocks, shared_blocks=part.pair.shared_blocks,
        rows=rows, original=original, tuned=tuned, agreement=agreement,
        in_words=_in_words(rows, agreement.value),
    )  # fmt: skip


def _differing(part: Subject) -> list[int | None]:
    """The blocks in which the models differ, 0-based, then final norm and head where they do."""
    same, ends_are_same = same_parts(part.pair.original, part.pair.tuned)
    found: list[int | None] = [block for block in range(part.pair.num_blocks) if block not in same]
    return found if ends_are_same else [*found, ENDS]


def _hybrid(part: Subject, change: str, block: int | None) -> Columns:
    """Variety of what one hybrid writes and its agreement with the tuned model, per context."""
    pair = part.pair
    into, source = (pair.original, pair.tuned) if change == PUT_IN else (pair.tuned, pair.original)
    blocks = [] if block is ENDS else [block]
    with exchanged(into, source, blocks, ends=block is ENDS) as hybrid:
        head_of = source if block is ENDS else into
        tokens = part.tokens.for_model(head_of)
        unknown = range(pair.num_logits, vocabulary_rows(head_of))
        texts = write_texts(hybrid, part.contexts.contexts, tokens, part.config, part.length)
        top1_NK = score_rows(hybrid, part.human_rows, part.length, banned=unknown).top1_NK
    two_NK = part.forced.tuned.top1_NK[: len(part.contexts)]
    return variety(texts) | {"top1_agreement_tuned": np.asarray(top1_agreement(top1_NK, two_NK))}


def _in_words(rows: list[OneBlock], agreement: float) -> str:
    """Which block brings most alone, and without which most is missing, by the choices."""
    if not rows:
        return "The models do not differ in any block, nor in final norm and head."
    most = max((row for row in rows if row.change == PUT_IN), key=_agreement)
    least = min((row for row in rows if row.change == TAKEN_OUT), key=_agreement)
    return (
        f"On human text both models choose alike at {agreement:.3f} of the positions. "
        f"{_named(most)} of the tuned model alone, put into the original, raises that most: to "
        f"{_agreement(most):.3f} (TTR {most.ttr.value:.3f}). {_named(least)} of the original, put "
        f"into the tuned model, takes most away: its choices stay at {_agreement(least):.3f} (TTR "
        f"{least.ttr.value:.3f})."
    )


def _agreement(row: OneBlock) -> float:
    assert row.top1_agreement_tuned.value is not None
    return row.top1_agreement_tuned.value


def _named(row: OneBlock) -> str:
    return "Final norm and head" if row.block is None else f"Block {row.block}"
