"""Citation blocker: no continuation of a training 5-gram is generated (Carlsson et al.).

arXiv 2412.04318: the last 5 generated tokens are looked up among all 5-grams of the training set;
the tokens that follow them there get probability 0, at the end of a word. The index is a trie in
sorted arrays, exact, and walked for all rows of a batch at once.
Shape letters: B rows of a batch, V vocabulary, O order, E edges of one level of the trie.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.generate.choose import greedy

ORDER = 5  # Carlsson et al.
BORDER = -1  # stands after each training row; no n-gram crosses it
NOWHERE = -1  # the node of an n-gram that the training set does not have


class CitationBlocker:
    """Which tokens would continue a citation of the training set.

    Args:
        rows: token ids of the training sequences; n-grams never cross from one to the next.
        order: how many last tokens are looked up; 5 in the source.
        starts_word_V: whether each token of the vocabulary starts a word. With it only such
            tokens are blocked, which is "at the end of a word": the tokens before end a word only
            where the next one starts another. Whether punctuation starts a word is the caller's
            choice. Without it every continuation is blocked, also inside of a word.

    Raises:
        ValueError: an order below 1, a negative token id, or a training token that
            `starts_word_V` does not reach.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[int] | NDArray[np.integer[Any]]],
        order: int = ORDER,
        *,
        starts_word_V: Sequence[bool] | NDArray[np.bool_] | None = None,
    ) -> None:
        if order < 1:
            raise ValueError(f"the blocker looks up at least 1 token, got an order of {order}")
        parts = [np.append(np.asarray(row, dtype=np.int64), BORDER) for row in rows]
        if any((part[:-1] < 0).any() for part in parts):
            raise ValueError("token ids must not be negative")
        text = np.concatenate([*parts, np.array([BORDER])])
        self.order = order
        self._ids = int(text.max()) + 1  # token ids of the training set are below
        self._starts = None if starts_word_V is None else np.asarray(starts_word_V, dtype=bool)
        if self._starts is not None and len(self._starts) < self._ids:
            raise ValueError(
                f"starts_word_V tells of {len(self._starts)} tokens, the training set has token "
                f"{self._ids - 1}"
            )
        self._levels = self._trie(text)

    def _trie(self, text: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Level j: the sorted edges node x ids + token into the n-grams of j + 1 tokens, [E].

        A node is the place of its edge in the level above; node 0 is the start of all.
        """
        place = np.flatnonzero(text != BORDER)
        node = np.zeros(len(place), dtype=np.int64)
        levels = []
        for depth in range(self.order + 1):
            inside = text[place + depth] != BORDER
            place, node = place[inside], node[inside]
            edges, node = np.unique(node * self._ids + text[place + depth], return_inverse=True)
            levels.append(edges)
        return levels

    def _nodes(self, last_BO: NDArray[np.int64]) -> NDArray[np.int64]:
        """The trie's node of each row's last tokens, NOWHERE where there is none, [B]."""
        node_B = np.zeros(len(last_BO), dtype=np.int64)
        for edges, token_B in zip(self._levels, last_BO.T, strict=False):
            if len(edges) == 0:
                return np.full(len(last_BO), NOWHERE)
            # A token the training set lacks would be read as an edge of another node.
            possible_B = (node_B != NOWHERE) & (token_B >= 0) & (token_B < self._ids)
            edge_B = node_B * self._ids + token_B
            found_B = np.searchsorted(edges, edge_B).clip(max=len(edges) - 1)
            node_B = np.where(possible_B & (edges[found_B] == edge_B), found_B, NOWHERE)
        return node_B

    def _continuations(self, node: int) -> NDArray[np.int64]:
        edges = self._levels[-1]
        low, high = np.searchsorted(edges, [node * self._ids, (node + 1) * self._ids])
        tokens = edges[low:high] % self._ids
        return tokens if self._starts is None else tokens[self._starts[tokens]]

    def blocked(self, last_ids: Sequence[int]) -> set[int]:
        """The tokens that must not follow `last_ids`; only its last `order` tokens count.

        Empty where they are no n-gram of the training set, or fewer than `order`.
        """
        if len(last_ids) < self.order:
            return set()
        node = int(self._nodes(np.array([last_ids[-self.order :]], dtype=np.int64))[0])
        return set() if node == NOWHERE else set(self._continuations(node).tolist())

    def block(self, logits_BV: Tensor, tokens: Sequence[Sequence[int]]) -> Tensor:
        """`logits_BV` with -inf where a token would continue a citation; a new tensor, [B, V].

        `tokens` are each row's tokens so far. The source looks up generated tokens only: give
        these, without the context, to do the same; the first `order` steps are then free. Where
        no finite logit would be left in a row, nothing is blocked in it.

        Raises:
            ValueError: not one list of tokens a row, or a training token beyond the logits.
        """
        if len(tokens) != len(logits_BV) or self._ids > logits_BV.shape[-1]:
            raise ValueError(
                f"logits {tuple(logits_BV.shape)} do not fit {len(tokens)} rows and training "
                f"tokens up to {self._ids - 1}"
            )
        long = [i for i, row in enumerate(tokens) if len(row) >= self.order]
        out_BV = logits_BV.clone()
        if not long:
            return out_BV
        last_BO = np.array([tokens[i][-self.order :] for i in long], dtype=np.int64)
        for i, node in zip(long, self._nodes(last_BO).tolist(), strict=True):
            if node == NOWHERE:
                continue
            out_BV[i, torch.from_numpy(self._continuations(node))] = -torch.inf
            if not out_BV[i].isfinite().any():
                out_BV[i] = logits_BV[i]
        return out_BV


@dataclass(frozen=True)
class CitationBlocked:
    """Greedy decoding in which no citation of the training set goes on (see `CitationBlocker`).

    Looks up generated tokens only, as the source does; the context may be a citation.
    """

    blocker: CitationBlocker

    def __call__(
        self, logits_BV: Tensor, rows: range, step: int, seen_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Chooser`."""
        generated = seen_BT[:, seen_BT.shape[1] - step :].tolist()
        return greedy(self.blocker.block(logits_BV, generated), rows, step)
