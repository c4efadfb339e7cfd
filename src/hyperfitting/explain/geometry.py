"""Where the hidden states differ (definitions, section 6), and whether block swap agrees."""

from hyperfitting.compare.layers import GeometryObserver
from hyperfitting.explain.subject import Subject
from hyperfitting.measure.localisation import Located, agreement_in_words
from hyperfitting.records.controls.block_swap import BlockSwap
from hyperfitting.records.controls.geometry import Geometry


def geometry(subject: Subject) -> Geometry:
    """What the observer saw of every layer; beside block swap, where that ran before."""
    found, swap = subject.saw(GeometryObserver).result(subject.arm), subject.of(BlockSwap)
    if swap is None:
        return found
    return found.model_copy(update={"beside_block_swap_in_words": _agreement(found, swap)})


def _agreement(found: Geometry, swap: BlockSwap) -> str:
    """Do geometry and block swap place the effect alike?"""
    placed = swap.placed
    if placed is None:
        return "Block swap has no effect to place beside geometry."
    return agreement_in_words(
        Located(placed.enough, placed.too_few, {}),
        placed.outcome,
        num_blocks=swap.num_blocks,
        has_terminal_expansion=bool(found.has_terminal_expansion),
    )
