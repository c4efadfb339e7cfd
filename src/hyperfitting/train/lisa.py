"""LISA: a few random blocks train at a time, embeddings, final norm and head always.

Pan et al., arXiv 2403.17919. The gradients of the other blocks are dropped before each update, so
AdamW leaves their weights and moments as they are: the same updates as with frozen blocks.
`requires_grad` stays as it is, so a compiled step need not be compiled anew for every choice of
blocks; memory and time are those of training everything.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from hyperfitting.config import TrainConfig
from hyperfitting.config.methods import Method
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import decoder_blocks
from hyperfitting.models.types import CausalLM
from hyperfitting.train.trainable import Trainable, account

CHOICE = 1  # apart from other draws of `train.seed`


def training_blocks(config: TrainConfig, step: int, count: int) -> list[int]:
    """0-based blocks that the step after `step` steps trains, of `count`.

    A function of the seed and of the number of the interval, so that a resumed run chooses alike.
    """
    interval = step // config.lisa_interval
    draw = np.random.default_rng([config.seed, CHOICE, interval])
    chosen = draw.choice(count, size=config.lisa_blocks, replace=False)
    return sorted(int(block) for block in chosen)


def some_at_a_time(model: CausalLM, _method: Method, config: TrainConfig) -> Trainable:
    """Every parameter, but at each step the weights of a few blocks only.

    Raises:
        InputError: more blocks at a time than there are, or a rate that is too small.
    """
    blocks = list(decoder_blocks(model).values())
    if config.lisa_blocks > len(blocks):
        raise InputError(
            f"train.lisa_blocks is {config.lisa_blocks}, the model has {len(blocks)} blocks",
            needed=f"a number from 1 to {len(blocks)}",
        )
    model.requires_grad_(True)
    found = account(model, None, config, has_adapter=False)

    def drop_others(step: int) -> None:
        _drop_gradients(blocks, kept=training_blocks(config, step, len(blocks)))

    return replace(found, before_update=drop_others)


def _drop_gradients(blocks: Sequence[nn.Module], kept: Sequence[int]) -> None:
    """Mutates the blocks that are not kept: their gradients are gone, and nothing moves them."""
    for index, block in enumerate(blocks):
        if index not in kept:
            for parameter in block.parameters():
                parameter.grad = None
