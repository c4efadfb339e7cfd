"""Linear layers of a few rows on a CPU, with the weight on the left of the product.

A step of decoding multiplies every weight with a row per text. `x @ W.T` of so few rows reads the
weights at a fraction of what memory gives; `(W @ x.T).T` is the same sums, up to their last bits,
in half the time for 4 texts and four fifths for 16 to 64 (docs/log.md). Texts may run whole in
other widths of a batch, so their last bits are nobody's promise; training uses none of this.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)
from torch.overrides import TorchFunctionMode

MOST_ROWS = 64  # beyond, the usual product is as fast


class FewRows(TorchFunctionMode):
    """While it is entered, float32 linear layers of 2 to 64 rows on a CPU take the other product.

    Not differentiable into anything that trains: meant for `torch.no_grad`.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Torch asks here for every function that is called."""
        if func is F.linear and not kwargs and _is_meant(args[0], args[1]):
            return linear_of_few_rows(*args)
        return func(*args, **(kwargs or {}))


def _is_meant(x: Tensor, weight_OI: Tensor) -> bool:
    is_plain = type(weight_OI) in (Tensor, torch.nn.Parameter) and weight_OI.layout == torch.strided
    rows = x.numel() // x.shape[-1]
    return (
        is_plain
        and weight_OI.ndim == 2
        and x.dtype == weight_OI.dtype == torch.float32
        and x.device.type == weight_OI.device.type == "cpu"
        and 1 < rows <= MOST_ROWS
    )


def linear_of_few_rows(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """`x Wᵀ + bias`, the shape of `F.linear`."""
    x_NI = x.reshape(-1, x.shape[-1])
    y = (weight_OI @ x_NI.T).T.contiguous().view(*x.shape[:-1], -1)
    return y if bias_O is None else y.add_(bias_O)


def few_rows(device: torch.device) -> AbstractContextManager[Any]:
    """For a forward pass of a few rows on `device`: the faster products where they are."""
    autocast = torch.is_autocast_enabled(device.type)
    return FewRows() if device.type == "cpu" and not autocast else nullcontext()
