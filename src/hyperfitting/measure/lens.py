"""At which layer a tuned model's word passes its original's, through the logit lens. Pure.

The logit lens reads a layer's hidden states through the model's own final norm and head
(nostalgebraist, 2020). Shape letters: L layers, P positions.
"""

import numpy as np
from numpy.typing import NDArray


def layer_of_passing(is_above_LP: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first layer from which on a word stays above, for each position; L where it never does.

    `is_above_LP` says at which layers it is; layers count from 0. Passing for a while does not
    count.

    Raises:
        ValueError: no layers.
    """
    if len(is_above_LP) == 0:
        raise ValueError("needs at least one layer")
    stays_LP = np.logical_and.accumulate(is_above_LP[::-1], axis=0)[::-1]
    found: NDArray[np.int64] = len(is_above_LP) - stays_LP.sum(axis=0)
    return found
