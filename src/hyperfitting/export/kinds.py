"""What an export promises of its weights, by the types that its files hold."""

from typing import NamedTuple

import torch

from hyperfitting.config import ModelConfig
from hyperfitting.models.gguf_file import stored_types
from hyperfitting.models.located import locate
from hyperfitting.models.merged import STORED, stored_dtype

LARGEST_ROUNDING = 1e-6  # of weights that are computed in another order, in their own length


class Bound(NamedTuple):
    """How far a type of weights may move them, in their own length, and choices it must keep."""

    distance: float
    top1: float


# Of what llama.cpp stores; the coarsest type of a file counts. Vectors stay in F32 beside the
# others. Another training of the same base lies beyond both for the finer types.
OF_GGUF = {"F16": torch.float16, "BF16": torch.bfloat16}
BOUNDS = {
    "Q8_0": Bound(0.02, 0.95), "Q6_K": Bound(0.04, 0.95), "Q5_K": Bound(0.08, 0.9),
    "Q5_0": Bound(0.08, 0.9), "Q5_1": Bound(0.08, 0.9), "Q4_K": Bound(0.15, 0.8),
    "Q4_0": Bound(0.2, 0.8), "Q4_1": Bound(0.2, 0.8),
}  # fmt: skip
FEWER_BITS, PLAIN = Bound(0.4, 0.6), Bound(LARGEST_ROUNDING, 0.98)


class Kind(NamedTuple):
    """What an export promises of its weights."""

    dtype: torch.dtype  # that they are cast to once
    bound: Bound = PLAIN
    is_gguf: bool = False

    @property
    def is_quantised(self) -> bool:
        """Whether weights only come near what was trained."""
        return self.bound != PLAIN

    @property
    def is_exact(self) -> bool:
        """Whether every token has to be the run's."""
        return self.dtype == torch.float32 and not self.is_quantised


def kind_of(export: ModelConfig) -> Kind:
    """What an export promises, by the types that its files hold.

    Raises:
        InputError: there is no such checkpoint.
    """
    checkpoint = locate(export)
    if checkpoint.gguf is not None:
        types = stored_types(checkpoint) - {"F32"}
        short = next((dtype for name, dtype in OF_GGUF.items() if name in types), torch.float32)
        coarse = [BOUNDS.get(name, FEWER_BITS) for name in types - OF_GGUF.keys()]
        return Kind(short, max(coarse, default=PLAIN), is_gguf=True)
    if checkpoint.has_adapter and not checkpoint.has_weights:
        return Kind(torch.float32)
    return Kind(STORED[stored_dtype(export)])
