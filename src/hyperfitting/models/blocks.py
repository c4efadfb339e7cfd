"""Run a model up to a block, or from a block on.

Shape letters: B windows of a batch, T tokens, D hidden width, V vocabulary.

Whatever a block needs besides the hidden states (masks, rotary embeddings, which of them belongs
to which kind of layer) is computed by the model's own code: `record_inputs` runs the model once
and keeps what each block was given. With no padding mask none of it depends on the tokens, only
on B and T, so it serves every later batch of that shape.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hyperfitting.models.anatomy import Anatomy


class BlockInputs(NamedTuple):
    """What a block is given besides the hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _ReachedError(Exception):
    """Ends a forward pass at a block, carrying the hidden states that enter it."""

    def __init__(self, hidden_BTD: Tensor) -> None:
        super().__init__()
        self.hidden_BTD = hidden_BTD


def _split_hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, BlockInputs]:
    """Separate the hidden states, first or by name, from a block's other arguments."""
    if args:
        return args[0], BlockInputs(args[1:], kwargs)
    rest = dict(kwargs)
    return rest.pop("hidden_states"), BlockInputs((), rest)


@torch.no_grad()
def record_inputs(parts: Anatomy, ids_BT: Tensor) -> list[BlockInputs]:
    """What every block is given besides the hidden states, for batches of this shape."""
    recorded: list[BlockInputs] = []

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recorded.append(_split_hidden(args, kwargs)[1])

    hooks = [b.register_forward_pre_hook(keep, with_kwargs=True) for b in parts.blocks.values()]
    try:
        parts.decoder(input_ids=ids_BT, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(recorded) == len(parts.blocks), "the model skipped or repeated a block"
    return recorded


def hidden_entering(parts: Anatomy, ids_BT: Tensor, cut: int) -> Tensor:
    """The hidden states that enter block `cut` (0-based), [B, T, D]; nothing above it runs.

    Gradients flow where they are enabled; a frozen prefix is run under `torch.no_grad`.
    """

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _ReachedError(_split_hidden(args, kwargs)[0])

    block = list(parts.blocks.values())[cut]
    hook = block.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        parts.decoder(input_ids=ids_BT, use_cache=False)
    except _ReachedError as reached:
        return reached.hidden_BTD
    finally:
        hook.remove()
    raise AssertionError(f"the model did not run block {cut}")


class Tail:
    """The blocks from `cut` on, and the final norm."""

    def __init__(self, parts: Anatomy, cut: int, *, checkpointing: bool = False) -> None:
        self.blocks = list(parts.blocks.values())[cut:]
        self.norm = parts.norm
        self.cut = cut
        self.checkpointing = checkpointing

    def __call__(self, hidden_BTD: Tensor, inputs: Sequence[BlockInputs]) -> Tensor:
        """Hidden states entering block `cut` to normed hidden states, [B, T, D].

        `inputs` are those of the tail's blocks, for this B and T.
        """
        for block, (args, kwargs) in zip(self.blocks, inputs, strict=True):
            if self.checkpointing and torch.is_grad_enabled():
                output = checkpoint(block, hidden_BTD, *args, use_reentrant=False, **kwargs)
            else:
                output = block(hidden_BTD, *args, **kwargs)
            hidden_BTD = output[0] if isinstance(output, tuple) else output
        normed_BTD: Tensor = self.norm(hidden_BTD)
        return normed_BTD


def release_prefix(parts: Anatomy, cut: int) -> None:
    """Mutates the model: moves embeddings and the blocks below `cut` to CPU memory.

    Embeddings that are tied to the head stay where the head is.
    """
    _move_prefix(parts, cut, torch.device("cpu"))


def prefix_bytes(parts: Anatomy, cut: int) -> int:
    """Memory that a released prefix takes when it comes back."""
    weights = (p for module in _prefix(parts, cut) for p in module.parameters())
    return sum(p.numel() * p.element_size() for p in weights)


def _prefix(parts: Anatomy, cut: int) -> list[nn.Module]:
    """What is released: blocks below `cut`, and an embedding that is not the head's too."""
    modules: list[nn.Module] = list(parts.blocks.values())[:cut]
    if parts.embedding.weight is not parts.head.weight:
        modules.append(parts.embedding)
    return modules


def _move_prefix(parts: Anatomy, cut: int, device: torch.device) -> None:
    for module in _prefix(parts, cut):
        module.to(device)


@contextmanager
def whole_model(parts: Anatomy, cut: int, *, released: bool) -> Iterator[None]:
    """Bring a released prefix back beside the tail for as long as the block runs.

    Its weights stay in CPU memory meanwhile: they are frozen, and need not be copied back.
    """
    if not released:
        yield
        return
    held = [(p, p.data) for module in _prefix(parts, cut) for p in module.parameters()]
    _move_prefix(parts, cut, parts.head.weight.device)
    try:
        yield
    finally:
        for parameter, data in held:
            parameter.data = data
        release_prefix(parts, cut)  # buffers
