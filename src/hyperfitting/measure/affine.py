"""Is the change one temperature and one constant shift together? z' = a z + b, fitted.

Shape letters: P positions, V vocabulary. Pass only the rows of the vocabulary that the tokenizer
has, and finite logits after any soft cap.
"""

from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

Kind = Literal["temperature", "shift", "joint"]
KINDS: tuple[Kind, ...] = ("temperature", "shift", "joint")


class Affine(NamedTuple):
    """What turns the original's centred logits into the tuned model's: scale * z + shift."""

    scale: float  # 1 / temperature
    shift_V: Tensor  # float64


def centred(logits_PV: Tensor) -> Tensor:
    """Logits with the mean of each position taken off, float64: a softmax sees no more."""
    kind = torch.float32 if logits_PV.device.type == "mps" else torch.float64
    return logits_PV.to(kind) - logits_PV.to(kind).mean(dim=-1, keepdim=True)


class AffineSums:
    """Sums over positions from which each kind is fitted by least squares; memory O(V)."""

    def __init__(self, vocabulary: int) -> None:
        """Start with no positions."""
        self.positions = 0
        self.original_V = torch.zeros(vocabulary, dtype=torch.float64)
        self.tuned_V = torch.zeros(vocabulary, dtype=torch.float64)
        self.original_squares = 0.0
        self.products = 0.0

    def add(self, original_PV: Tensor, tuned_PV: Tensor) -> Self:
        """Add positions: both models' logits on the same prefixes."""
        x_PV, y_PV = centred(original_PV), centred(tuned_PV)
        self.positions += len(x_PV)
        self.original_V += x_PV.sum(dim=0).cpu().double()
        self.tuned_V += y_PV.sum(dim=0).cpu().double()
        self.original_squares += float(x_PV.square().sum())
        self.products += float((x_PV * y_PV).sum())
        return self

    def fit(self, kind: Kind) -> Affine:
        """The scale and the shift of least squared error over the positions so far.

        `temperature` has no shift, `shift` a scale of 1. Where the original's logits do not vary
        (between tokens, for `joint` between positions) the scale is 1.

        Raises:
            ValueError: no positions were added.
        """
        if not self.positions:
            raise ValueError("a fit needs at least one position")
        x_V, y_V = self.original_V / self.positions, self.tuned_V / self.positions
        if kind == "temperature":
            return Affine(_ratio(self.products, self.original_squares), torch.zeros_like(x_V))
        scale = 1.0
        if kind == "joint":
            shared = self.positions * float(x_V @ y_V)
            own = self.positions * float(x_V @ x_V)
            scale = _ratio(self.products - shared, self.original_squares - own)
        return Affine(scale, y_V - scale * x_V)


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else 1.0


def unexplained(fit: Affine, original_PV: Tensor, tuned_PV: Tensor) -> tuple[float, float]:
    """Squared length of what a fit leaves of the change, and of the change itself.

    1 - the sum of the first / the sum of the second over positions that the fit did not see is the
    share that it explains: at most 1, below 0 where it does worse than no change.
    """
    x_PV, y_PV = centred(original_PV), centred(tuned_PV)
    left_PV = y_PV - fit.scale * x_PV - fit.shift_V.to(y_PV)
    return float(left_PV.square().sum()), float((y_PV - x_PV).square().sum())
