"""Did tuning turn the singular vectors of the blocks' matrices, or change their values?

The paper (A.4) says, after others, that words are reordered by turned vectors. Looked at are the
linear layers of the blocks: their change in the original's singular basis, and what the original
writes with the tuned model's values, vectors, or both. Shape letters: O outputs, I inputs.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hyperfitting.explain.block_swap import first_contexts
from hyperfitting.explain.subject import Subject, references, variety, write_texts
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.measure.rotation import NO_SPLIT, Decomposed, Split, split_change
from hyperfitting.models.adapter import weight_with_adapter
from hyperfitting.models.anatomy import base_of, decoder_blocks, linear_modules
from hyperfitting.models.forward import choose_rows
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.load import is_quantized
from hyperfitting.models.merged import weights_of
from hyperfitting.models.pair import Pair, with_weights
from hyperfitting.records.controls.rotation import (
    BOTH,
    VALUES,
    VECTORS,
    BlockRotation,
    Given,
    Rotation,
)

OTHER_KIND = "what changed in the blocks are no linear layers, such as experts"
QUANTIZED = "quantised weights have no singular values that could be exchanged"
NOTHING = "no matrix of a block changed"
Weights = dict[str, Tensor]  # by the full name of their module


def rotation(subject: Subject) -> Rotation | None:
    """Split every change, and continue contexts with three hybrids; None without contexts."""
    if subject.config.swap_contexts == 0:
        return None
    pair = subject.pair
    if is_quantized(pair.original) or is_quantized(pair.tuned):
        return _none(subject, QUANTIZED)
    with subject.progress.stage(
        f"singular values of {subject.arm.in_full}", pair.num_blocks
    ) as stage:
        rows, weights = [], {VALUES: Weights(), VECTORS: Weights(), BOTH: Weights()}
        for number, block in enumerate(decoder_blocks(pair.original), start=1):
            row = _block(pair, number, block, weights)
            rows += [row] if row else []
            stage.update(number)
        stage.update(pair.num_blocks, f"{len(weights[BOTH])} matrices that changed")
    others = _others_changed(pair)
    if not rows:
        return _none(subject, OTHER_KIND if others else NOTHING)
    part = first_contexts(subject)
    hybrids = [_hybrid(part, name, given) for name, given in weights.items()]
    return Rotation(
        arm=subject.arm, rows=rows, hybrids=hybrids, others_changed=others,
        in_words=_in_words(rows, hybrids, others),
        **references(part)._asdict(),
    )  # fmt: skip


def _none(subject: Subject, reason: str) -> Rotation:
    return Rotation(
        arm=subject.arm, rows=[], hybrids=[], reason=reason,
        in_words=f"Nothing was exchanged: {reason}.",
    )  # fmt: skip


@torch.no_grad()
def _block(
    pair: Pair, number: int, block: str, weights: Mapping[str, Weights]
) -> BlockRotation | None:
    """Mutates `weights`: the matrices of a block as each hybrid has them; None if none changed."""
    split, count = NO_SPLIT, 0
    for name in linear_modules(base_of(pair.original), [block]):
        before_OI = base_of(pair.original).get_submodule(name).weight
        after_OI = weight_with_adapter(base_of(pair.tuned).get_submodule(name))
        if torch.equal(before_OI, after_OI):
            continue
        one, two = Decomposed.of(before_OI), Decomposed.of(after_OI)
        weights[VALUES][name] = one.with_values(two.values_S).to("cpu", before_OI.dtype)
        weights[VECTORS][name] = two.with_values(one.values_S).to("cpu", before_OI.dtype)
        weights[BOTH][name] = after_OI.cpu()
        change_OI = after_OI.double() - before_OI.double()
        split, count = split.plus(split_change(one, change_OI)), count + 1
    return _row(number, count, split) if count else None


def _others_changed(pair: Pair) -> int:
    """Matrices of the blocks that are no linear layers, such as experts, and that changed."""
    one, two = base_of(pair.original), base_of(pair.tuned)
    blocks = list(decoder_blocks(pair.original))
    linear = linear_modules(one, blocks)
    before = {
        name: tensor
        for name, tensor in one.named_parameters()
        if tensor.ndim > 1
        and any(name.startswith(f"{block}.") for block in blocks)
        and name.rpartition(".")[0] not in linear
    }
    tuned = (weight for weight in weights_of(two) if weight[0] in before)
    return len(before) - sum(torch.equal(before[name], after) for name, after in tuned)


def _row(number: int, count: int, split: Split) -> BlockRotation:
    return BlockRotation(
        block=number,
        matrices=count,
        relative_change=(split.change / split.size) ** 0.5,
        values_share=split.values / split.change,
        values_share_by_chance=split.values_by_chance / split.change,
    )


def _hybrid(part: Subject, name: str, weights: Weights) -> Given:
    """Variety of what the original writes with some of the matrices, and its choices."""
    original = part.pair.original
    unknown = range(part.pair.num_logits, vocabulary_rows(original))
    title = f"{part.arm.in_full}'s {name if name != BOTH else 'matrices'}"
    with part.progress.stage(title, len(part.contexts)) as stage:
        with with_weights(original, weights) as hybrid:
            texts = write_texts(
                hybrid, part.contexts.contexts, part.tokens.for_model(original), part.config,
                part.length, stage=stage,
            )  # fmt: skip
            top1_NK = choose_rows(hybrid, part.human_rows, part.length, banned=unknown)
        stage.update(len(part.contexts), f"{len(part.contexts)} contexts")
    agreement_N = top1_agreement(top1_NK, part.forced.tuned.top1_NK[: len(part.contexts)])
    return Given(
        part=name,
        top1_agreement_tuned=part.interval(np.asarray(agreement_N)),
        **part.intervals(variety(texts)),
    )


def _in_words(rows: list[BlockRotation], hybrids: list[Given], others: int) -> str:
    """Which share of the change is of values, and which hybrid comes near the tuned model."""
    largest = max(rows, key=lambda row: row.values_share)
    by = {each.part: each for each in hybrids}
    values, vectors, both = (by[name] for name in (VALUES, VECTORS, BOTH))
    left_out = (
        f" {others} matrices that changed are no linear layers, such as experts: they stay the "
        "original's."
        if others
        else ""
    )
    return (
        f"At most {_percent(largest.values_share)} of the squared change of a block's matrices "
        f"(block {largest.block}) changes singular values, in the original's own basis; by chance "
        f"{_percent(largest.values_share_by_chance)}. The original with the tuned values alone "
        f"chooses as the tuned model at {values.top1_agreement_tuned.value:.3f} of the positions "
        f"(TTR {values.ttr.value:.3f}), with the tuned vectors alone at "
        f"{vectors.top1_agreement_tuned.value:.3f} (TTR {vectors.ttr.value:.3f}), with both at "
        f"{both.top1_agreement_tuned.value:.3f} (TTR {both.ttr.value:.3f})." + left_out
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
