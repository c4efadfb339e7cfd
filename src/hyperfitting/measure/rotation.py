"""Does a change of a matrix turn its singular vectors, or scale its singular values? Pure.

W = U diag(s) V', s descending. A change is split in the original's own basis: what lies on the
diagonal of U' (W1 - W0) V changes values, what lies beside it turns vectors (to first order).
Shape letters: O outputs, I inputs, S singular values.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Split(NamedTuple):
    """Squared Frobenius norms of a matrix, of its change, and of what changes its values."""

    size: float
    change: float
    values: float
    values_by_chance: float  # that of a change of this size in a random direction, on average

    def plus(self, other: "Split") -> "Split":
        """Of two matrices together."""
        return Split(*(one + two for one, two in zip(self, other, strict=True)))


NO_SPLIT = Split(0.0, 0.0, 0.0, 0.0)


class Decomposed(NamedTuple):
    """A matrix by its singular values, descending, and its vectors."""

    left_OS: Tensor
    values_S: Tensor
    right_SI: Tensor

    @classmethod
    def of(cls, weight_OI: Tensor) -> "Decomposed":
        """The decomposition of a matrix, in float32 or better."""
        precise = weight_OI if weight_OI.dtype == torch.float64 else weight_OI.float()
        return cls(*torch.linalg.svd(precise, full_matrices=False))

    def with_values(self, values_S: Tensor) -> Tensor:
        """The matrix of these vectors with other singular values, paired by size, [O, I]."""
        return (self.left_OS * values_S) @ self.right_SI


def split_change(before: Decomposed, change_OI: Tensor) -> Split:
    """How much of a matrix's change lies on the diagonal of its own singular basis.

    A random change of O x I entries has min(O, I) of them there, which is 1 in max(O, I).
    """
    turned_OS = change_OI.to(before.left_OS.dtype) @ before.right_SI.T
    diagonal_S = (before.left_OS * turned_OS).sum(dim=0)
    change = float(change_OI.double().square().sum())
    return Split(
        size=float(before.values_S.double().square().sum()),
        change=change,
        values=float(diagonal_S.double().square().sum()),
        values_by_chance=change / max(change_OI.shape),
    )
