"""Every control that `hyperfit explain` runs on a tuned model: the one table of them.

A control is a line here, named like its file, its record (`RECORDS` in `records/controls`) and
its module there. It may look at the one pass of both models over the human text through an
observer, and at what the controls above it found.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hyperfitting.compare.layers import GeometryObserver
from hyperfitting.compare.scores import LogitsObserver
from hyperfitting.config import ExplainConfig
from hyperfitting.explain.block_swap import block_swap
from hyperfitting.explain.geometry import geometry
from hyperfitting.explain.joint_null import AffineObserver, joint_null
from hyperfitting.explain.lens import lens
from hyperfitting.explain.overrides import SurenessObserver, overrides
from hyperfitting.explain.provenance import provenance
from hyperfitting.explain.rotation import rotation
from hyperfitting.explain.single_blocks import single_blocks
from hyperfitting.explain.static_bias import ShiftObserver, halves, static_bias
from hyperfitting.explain.subject import Subject
from hyperfitting.explain.token_kinds import token_kinds
from hyperfitting.models.pair import LayerStates
from hyperfitting.records.record import OfArm

LayersObserver = Callable[[LayerStates], None]


class Ahead(NamedTuple):
    """What an observer may know before the pass."""

    config: ExplainConfig
    vocabulary: int  # tokens that the tokenizer has and both models know
    num_contexts: int


@dataclass(frozen=True)
class Control:
    """What runs on one tuned model after the pass, and what makes its observer before it.

    `run` returns None where the config skips the control. An observer of `layers` sees the hidden
    states of each layer, one of `logits` each context's logits; neither may change them.
    """

    run: Callable[[Subject], OfArm | None]
    layers: Callable[[Ahead], LayersObserver] | None = None
    logits: Callable[[Ahead], LogitsObserver] | None = None


CONTROLS: Mapping[str, Control] = {
    "provenance": Control(provenance),
    "static_bias": Control(
        static_bias,
        logits=lambda ahead: ShiftObserver(
            ahead.vocabulary, halves(ahead.num_contexts, ahead.config.seed)
        ),
    ),
    "joint_null": Control(
        joint_null,
        logits=lambda ahead: AffineObserver(
            ahead.vocabulary, halves(ahead.num_contexts, ahead.config.seed)
        ),
    ),
    "overrides": Control(overrides, logits=lambda ahead: SurenessObserver(ahead.num_contexts)),
    "tokens": Control(token_kinds),
    "lens": Control(lens),
    "block_swap": Control(block_swap),
    "single_blocks": Control(single_blocks),
    "rotation": Control(rotation),
    "geometry": Control(geometry, layers=lambda ahead: GeometryObserver(ahead.config)),
}
