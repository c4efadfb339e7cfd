"""Contrastive search and its adaptive form.

Shape letters: B texts of a batch, K candidates of a text, M = K x B rows in candidate order
(row j x B + b is candidate j of text b), T tokens so far, D hidden width, V vocabulary, S steps.

Every step runs all candidates of all texts as rows of one batch. The cache has K rows for each
text which agree but for the candidate itself, so going on from the winner copies one position.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize, pad

from hyperfitting.errors import InputError
from hyperfitting.generate.feed import searching_feed_of
from hyperfitting.generate.step import Feed, Rows, together
from hyperfitting.generate.texts import Decoded, Written
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.interface import rope_switch
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage


class Plan(Protocol):
    """How many candidates each text has at this step, and how much repetition weighs."""

    @property
    def largest_k(self) -> int:
        """No step has more candidates."""
        ...

    def __call__(self, logits_BV: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """For each text k [B], int64 of 1 to `largest_k`, and alpha [B] in [0, 1].

        `step` counts from 0 and starts again with every batch.
        """
        ...


@dataclass(frozen=True)
class Constant:
    """The same k and alpha at every step: contrastive search."""

    k: int
    alpha: float

    @property
    def largest_k(self) -> int:
        """The one k."""
        return self.k

    def __call__(self, logits_BV: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """See `Plan`."""
        shape, device = (len(logits_BV),), logits_BV.device
        return torch.full(shape, self.k, device=device), torch.full(
            shape, self.alpha, device=device
        )


@dataclass
class Adaptive:
    """k and alpha from entropies: adaptive contrastive search.

    v = (H - median of the text's earlier H) / ln V; k = round(10 sigmoid(q atanh v) + 5), 5 to
    15. Then the same among the k most probable tokens, renormalised: v_k = (H_k - median of
    earlier H_k) / ln k; alpha = sigmoid(q atanh v_k), to two decimals. Before there is any
    history v = 0, so k = 10 and alpha = 0.5. Source: Garces Arias et al., arXiv 2407.18698, and
    YecanLee/Adaptive-Contrastive-Search (`q` = 1; its README's example has 8).

    That code is undefined where v_k leaves (-1, 1), which happens when k changes; v_k is clipped
    here. It also takes k from the first text of a batch; here each text has its own.
    """

    q: float = 1.0
    largest_k: int = field(default=15, init=False)
    _entropy: list[NDArray[np.float64]] = field(default_factory=list, init=False)
    _entropy_k: list[NDArray[np.float64]] = field(default_factory=list, init=False)

    def __call__(self, logits_BV: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """See `Plan`."""
        if step == 0:
            self._entropy, self._entropy_k = [], []
        logp_BV = logits_BV.double().log_softmax(dim=-1)
        v_B = self._deviation(_entropy(logp_BV), self._entropy) / math.log(logits_BV.shape[-1])
        k_B = (10 * self._squashed(v_B) + 5).round().long()
        top_BK = logp_BV.topk(min(self.largest_k, logp_BV.shape[-1]), dim=-1).values
        outside_BK = torch.arange(top_BK.shape[1], device=top_BK.device) >= k_B[:, None]
        top_BK = top_BK.masked_fill(outside_BK, -torch.inf).log_softmax(dim=-1)
        v_B = self._deviation(_entropy(top_BK), self._entropy_k) / k_B.log()
        return k_B, self._squashed(v_B).round(decimals=2).to(logits_BV)

    def _squashed(self, v_B: Tensor) -> Tensor:
        return (self.q * v_B.clamp(-1, 1).atanh()).sigmoid()

    @staticmethod
    def _deviation(now_B: Tensor, history: list[NDArray[np.float64]]) -> Tensor:
        """This step's entropy minus the median of the earlier ones; adds it to them."""
        now = now_B.cpu().numpy()
        median = np.median(np.stack(history), axis=0) if history else now
        history.append(now)
        return torch.from_numpy(now - median).to(now_B.device)


def _entropy(logp_BV: Tensor) -> Tensor:
    """Entropy in nats; tokens of probability 0 count 0."""
    return -torch.where(logp_BV > -torch.inf, logp_BV.exp() * logp_BV, 0).sum(dim=-1)


class _Search:
    """A batch of texts, the hidden states they are compared with, and a cache K times as wide."""

    def __init__(
        self, model: CausalLM, contexts: Sequence[Sequence[int]], feed: Feed, *, room: int, k: int
    ) -> None:
        self.rows = Rows(model, contexts, feed)
        output = self.rows.output(output_hidden_states=True)
        self.logits_BV: Tensor = output.logits[:, -1].float()
        self.k = min(k, self.logits_BV.shape[-1])
        self.padded_BT = ~self.rows.mask_BT
        hidden_BTD = _unit(_last_hidden(model, output))
        self.length = hidden_BTD.shape[1]
        self.hidden_BTD = pad(hidden_BTD, (0, 0, 0, room))
        self.texts_B = torch.arange(len(contexts), device=hidden_BTD.device)
        self.rows.take(self.texts_B.repeat(self.k))

    def step(self, k_B: Tensor, alpha_B: Tensor) -> tuple[Tensor, Tensor]:
        """Choose a token for every text and go on from it; see `Chooser` for the result."""
        k = min(int(k_B.max()), self.k) if self.rows.runs_first else self.k
        texts = len(self.texts_B)
        logp_BV = self.logits_BV.log_softmax(dim=-1)
        logp_BK, token_BK = logp_BV.topk(k, dim=-1)
        earlier = self.length
        output = self.rows.output_of_first(token_BK.T.reshape(-1), output_hidden_states=True)
        hidden_MD = _unit(output.hidden_states[-1][:, -1])
        hidden_BKD = hidden_MD.view(k, texts, -1).transpose(0, 1)
        cosine_BKT = hidden_BKD @ self.hidden_BTD[:, : self.length].transpose(1, 2)
        padded_B1T = self.padded_BT[:, None]
        cosine_BKT[..., : padded_B1T.shape[-1]].masked_fill_(padded_B1T, -torch.inf)
        alpha_B1 = alpha_B[:, None]
        score_BK = (1 - alpha_B1) * logp_BK.exp() - alpha_B1 * cosine_BKT.amax(dim=-1)
        outside_BK = torch.arange(k, device=k_B.device) >= k_B[:, None]
        score_BK = score_BK.masked_fill(outside_BK | logp_BK.isneginf(), -torch.inf)
        tied_BK = score_BK == score_BK.amax(dim=-1, keepdim=True)
        winner_B = tied_BK.int().argmax(dim=-1)  # the more probable of equals
        row_B = winner_B * texts + self.texts_B
        self.rows.settle(row_B.repeat(self.k))
        self.logits_BV = output.logits[:, -1][row_B].float()
        if self.rows.switches(earlier):  # the whole text was run anew, with another rope
            self.hidden_BTD[:, :earlier] = _unit(output.hidden_states[-1][row_B, :-1])
        self.hidden_BTD[:, self.length] = hidden_MD[row_B]
        self.length += 1
        return token_BK.gather(1, winner_B[:, None])[:, 0], tied_BK.sum(dim=-1) > 1


def _last_hidden(model: CausalLM, output: Any) -> Tensor:
    """Transformers' last hidden states, [B, T, D].

    Raises:
        InputError: the model does not give them.
    """
    states = getattr(output, "hidden_states", None)
    if not states or states[-1] is None or states[-1].ndim != 3:
        raise InputError(
            f"a {base_of(model).config.model_type!r} model gives no hidden states to compare",
            needed="a model that gives them, or a decoder other than contrastive search",
        )
    return states[-1]  # type: ignore[no-any-return]


def _unit(hidden: Tensor) -> Tensor:
    return normalize(hidden.float(), dim=-1)


def contrastive_search(
    model: CausalLM, contexts: Sequence[Sequence[int]], *, k: int, alpha: float, **options: Any
) -> list[Decoded]:
    """Contrastive search with one k and alpha for all steps; `options` as `search`."""
    return search(model, contexts, Constant(k, alpha), **options)


def adaptive_contrastive_search(
    model: CausalLM, contexts: Sequence[Sequence[int]], *, q: float, **options: Any
) -> list[Decoded]:
    """Contrastive search with k and alpha from entropies; `options` as `search`."""
    return search(model, contexts, Adaptive(q), **options)


@torch.no_grad()
def search(
    model: CausalLM,
    contexts: Sequence[Sequence[int]],
    plan: Plan,
    *,
    max_new_tokens: int,
    banned: Sequence[int] = (),
    ends: Collection[int] = (),
    batch_size: int = 32,
    stage: Stage | None = None,
) -> list[Decoded]:
    """Contrastive search: at each step go on with the candidate of the largest score.

    Score of v among the k most probable tokens: (1 - alpha) p(v) - alpha max_j cos(h_v, h_j), j
    over all tokens of context and continuation so far. h is transformers' last hidden state,
    after the final norm, as in SimCTG's code. p is taken over the tokens not `banned`. Ties of
    the score go to the more probable token and are counted.

    At most `batch_size` rows, candidates counted, run together (or those of one text). Source:
    Su et al., arXiv 2202.06417 and 2210.14140; deterministic. For `banned` and `ends` see
    `decode`.

    Raises:
        InputError: the model is not causal, gives no hidden states, or runs in no batch.
    """
    feed = searching_feed_of(model)
    if not feed.batches:
        raise InputError(
            f"a {base_of(model).config.model_type!r} model gives other logits in a batch",
            needed="a model whose candidates can run together, or a decoder without candidates",
        )
    texts = max(1, batch_size // plan.largest_k)
    decoded: dict[int, Decoded] = {}
    switch = rope_switch(base_of(model).config)
    for group in together(contexts, feed, None if switch is None else switch - max_new_tokens):
        for start in range(0, len(group), texts):
            places = group[start : start + texts]
            batch = [contexts[n] for n in places]
            search = _Search(model, batch, feed, room=max_new_tokens, k=plan.largest_k)
            written = Written(
                batch, max_new_tokens, vocabulary=search.logits_BV.shape[-1],
                ends=ends, device=search.logits_BV.device,
            )  # fmt: skip
            for step in range(max_new_tokens):
                search.logits_BV[:, list(banned)] = -torch.inf
                token_B, tied_B = search.step(*plan(search.logits_BV, step))
                if not written.append(token_B, tied_B):
                    break
            decoded.update(zip(places, written.decoded(), strict=True))
            if stage:
                stage.update(len(decoded))
    return [decoded[n] for n in range(len(contexts))]
