"""How sure the static share is: a bootstrap over contexts from their sums alone.

Shape letters: N contexts, G groups of contexts, V vocabulary, R draws.
"""

import numpy as np
import torch

from hyperfitting.measure.intervals import percentiles_around
from hyperfitting.measure.participation import Numbers
from hyperfitting.measure.static_shift import Change

MOST_VALUES = 2**26  # 256 MB in float32, whatever contexts and vocabulary are
PIECE = 2**16  # tokens of the vocabulary whose products are taken together


class ContextSums:
    """The sum of the change over each context, and from it draws of the static share.

    With s_c = sum of the change over the positions of context c, q_c its squared length summed
    and n_c its positions, the share of contexts drawn w_c times is w'Gw / ((w'n)(w'q)) for the
    products G = s s'. So a draw needs no logits. Where N x V passes `MOST_VALUES`, neighbouring
    contexts are summed in as many equal groups as fit, which are then drawn as wholes.
    """

    def __init__(self, contexts: int, vocabulary: int, *, most_values: int = MOST_VALUES) -> None:
        """Start with nothing added.

        Raises:
            ValueError: no contexts or no vocabulary.
        """
        if contexts < 1 or vocabulary < 1:
            raise ValueError(f"needs at least 1, got {contexts} and {vocabulary}")
        groups = min(contexts, max(2, most_values // vocabulary))
        self.group_N = np.arange(contexts) * groups // contexts
        self.sum_GV = torch.zeros(groups, vocabulary)
        self.squares_G = np.zeros(groups)
        self.positions_G = np.zeros(groups)

    def add(self, context: int, change: Change) -> None:
        """Add positions of one context."""
        group = int(self.group_N[context])
        self.sum_GV[group] += change.sum_V.float()
        self.squares_G[group] += change.squares
        self.positions_G[group] += change.positions

    def _products(self) -> Numbers:
        """G, [G, G], a piece of the vocabulary at a time."""
        groups, vocabulary = self.sum_GV.shape
        total_GG = torch.zeros(groups, groups, dtype=torch.float64)
        for low in range(0, vocabulary, PIECE):
            piece_GV = self.sum_GV[:, low : low + PIECE].double()
            total_GG += piece_GV @ piece_GV.T
        products: Numbers = total_GG.numpy()
        return products

    def shares(self, multiplicities_RG: Numbers) -> Numbers:
        """The static share of each draw, [R]; NaN where nothing that was drawn changed."""
        W_RG = multiplicities_RG
        above_R = ((W_RG @ self._products()) * W_RG).sum(axis=1)
        below_R = (W_RG @ self.positions_G) * (W_RG @ self.squares_G)
        share_R = np.full(len(W_RG), np.nan)
        np.divide(above_R, below_R, out=share_R, where=below_R > 0)
        return share_R

    def interval(
        self, share: float | None, *, resamples: int, confidence: float, seed: int
    ) -> tuple[float | None, float | None]:
        """The interval of the static share, inside [0, 1]; None for one context or no share.

        A draw holds contexts twice, which raises its share; so the draws' mean is moved onto the
        share before the percentiles are taken, as for participation ratios.
        """
        groups = len(self.squares_G)
        if share is None or groups < 2:
            return None, None
        rng = np.random.default_rng(seed)
        draws_RG = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples)
        low, high = percentiles_around(share, self.shares(draws_RG.astype(float)), confidence)
        if low is None or high is None:
            return None, None
        return max(0.0, low), min(1.0, high)
