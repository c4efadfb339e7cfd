"""How two models order the same tokens. Shape letters: N contexts, K positions."""

import numpy as np
from numpy.typing import NDArray


def top1_agreement(
    tuned_NK: NDArray[np.int64], original_NK: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Share of positions at which both models choose the same token, [N], in [0, 1].

    Both must have seen the same prefixes (definitions, section 3.1). A description, without a
    good direction; a model agrees with itself in all positions.

    Raises:
        ValueError: different shapes, or no positions.
    """
    if tuned_NK.shape != original_NK.shape or tuned_NK.shape[-1] == 0:
        raise ValueError(
            "top1_agreement needs choices at the same positions: "
            f"got shapes {tuned_NK.shape} and {original_NK.shape}"
        )
    share: NDArray[np.float64] = (tuned_NK == original_NK).mean(axis=-1)
    return share
