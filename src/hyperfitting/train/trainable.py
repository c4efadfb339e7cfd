"""A model set up for training, and what of it trains. Shape letter: P weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from hyperfitting.config import TrainConfig
from hyperfitting.errors import InputError
from hyperfitting.models.types import CausalLM
from hyperfitting.train.rate import learning_rate
from hyperfitting.train.start import StartOnDisk

AT_A_TIME = 2**22  # weights looked at together, so that little memory is taken beside a model's


@dataclass(frozen=True)
class Trainable:
    """A model set up for training, and what of it trains."""

    model: CausalLM
    names: list[str]  # trained parameters, full names
    count: int  # trained scalars
    blocks: list[int] | None  # 0-based indices of trained blocks; None where everything trains
    has_adapter: bool
    learning_rate: float  # after warm-up
    initial: Mapping[str, Tensor]  # the trained tensors before the first step, in CPU memory
    # Called with the steps done when the gradients of the next are there; may drop some of them.
    before_update: Callable[[int], None] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name, in the order of `names`."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name] for name in self.names}

    def with_start_in(self, folder: Path) -> Self:
        """The same, with whole weights' start in a file of `folder`; adapters are small."""
        if self.has_adapter:
            return self
        return replace(self, initial=StartOnDisk(self.initial, folder))

    def forget_weights(self) -> None:
        """Mutates the model: its weights are gone, and their memory is free."""
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)

    @contextmanager
    def original(self) -> Iterator[None]:
        """The model as it was before the first step, for as long as the block runs."""
        tensors = self.tensors()
        trained = {name: tensor.data for name, tensor in tensors.items()}
        try:
            for name, tensor in tensors.items():
                tensor.data = self.initial[name].to(tensor.device)
            yield
        finally:
            for name, tensor in tensors.items():
                tensor.data = trained[name]


def account(
    model: CausalLM, blocks: list[int] | None, config: TrainConfig, *, has_adapter: bool
) -> Trainable:
    """What of `model` requires gradients, a copy of it as it is now, and the rate it trains at.

    Raises:
        InputError: the rate is too small to change the weights, or cannot be chosen.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rate = learning_rate(model, trained, config)
    require_effective_updates(trained, rate)
    initial = {name: p.detach().cpu().clone() for name, p in trained.items()}
    count = sum(p.numel() for p in trained.values())
    return Trainable(model, list(trained), count, blocks, has_adapter, rate, initial)


def require_effective_updates(trained: Mapping[str, Tensor], rate: float) -> None:
    """Refuse a rate at which most trained weights would round back to what they were.

    AdamW moves a weight by about the rate. A move below half the distance to the next number of
    the weight's type is lost: in bfloat16, 0.02 - 5e-6 is 0.02.

    Raises:
        InputError: more than half of the weights could not move; the message has the arithmetic.
    """
    lost, total, example = 0, 0, None
    for tensor in trained.values():
        total += tensor.numel()
        for part_P in torch.split(tensor.detach().flatten(), AT_A_TIME):
            size_P = part_P.abs()
            spacing_P = _spacing(size_P)
            is_lost_P = (size_P > 0) & (spacing_P / 2 > rate)
            lost += int(is_lost_P.sum())
            if example is None and is_lost_P.any():
                middle = size_P.float()[is_lost_P].median()
                at = float(spacing_P[is_lost_P & (size_P.float() == middle)][0])
                example = (float(middle), at, str(tensor.dtype).removeprefix("torch."))
    if example is None or lost * 2 <= total:
        return
    weight, spacing_there, dtype = example
    raise InputError(
        f"train.learning_rate is {rate:g}: {lost:,} of {total:,} trained weights would not move. "
        f"They are {dtype}; near {weight:.3g} the next number is {spacing_there:.3g} away and an "
        f"update of less than {spacing_there / 2:.3g} rounds to nothing",
        needed="float32 weights, or a larger rate",
        hint=f"train.learning_rate={spacing_there:.1g} would move them",
    )


def _spacing(size_P: Tensor) -> Tensor:
    """How far the next number of their type is from each, [P]."""
    _, exponent_P = torch.frexp(size_P.float())
    eps = torch.finfo(size_P.dtype).eps
    return torch.ldexp(torch.full_like(size_P, eps, dtype=torch.float32), exponent_P - 1)
