"""Run a causal language model on tokens and score what it predicts.

Shape letters: B rows of a batch, N rows in all, T tokens of a row, K kept (scored) positions,
V vocabulary. Logits exist for a few rows at a time only, so memory does not grow with N.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.measure.entropy import prediction_entropy_nats
from hyperfitting.measure.likelihood import token_nll_nats
from hyperfitting.measure.ranks import token_ranks, top_token
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.interface import crosses_switch, logits_of, vocabulary_rows
from hyperfitting.models.proof import runs_in_batches
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage
from hyperfitting.records.arrays import Counts, Floats

LOGITS_PER_PASS = 2**23  # 32 MB in float32
# Fewer read the head's weights at half the speed of a CPU's products.
POSITIONS_PER_PASS = 256


class TokenScores(NamedTuple):
    """What a model says about the last K tokens of each row."""

    nll_NK: Floats  # nats
    entropy_NK: Floats  # nats
    top1_NK: Counts  # its own choice at that position


def rows_per_pass(num_scored: int, vocabulary: int) -> int:
    """Rows whose logits exist together: at least one."""
    few = LOGITS_PER_PASS // (num_scored * vocabulary)
    return max(1, few, POSITIONS_PER_PASS // num_scored)


def _scored_batches(
    model: CausalLM, rows: Sequence[Sequence[int]], num_scored: int, banned: Sequence[int] = ()
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Batches of rows: their indices, logits of the scored positions, tokens there.

    Rows may differ in length; only rows of one length run together, so nothing is padded. Logits of
    `banned` tokens are -inf.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_length[len(row)].append(index)
    batch = rows_per_pass(num_scored, vocabulary_rows(model)) if runs_in_batches(model) else 1
    for length, members in by_length.items():
        assert length > num_scored, "the first token of a row is predicted from nothing"
        for start in range(0, len(members), batch):
            chosen = members[start : start + batch]
            ids_BT = torch.tensor([rows[i] for i in chosen], device=model.device)
            logits_BKV = logits_of(model, ids_BT, num_scored + 1)[:, :-1]
            if known := [i for i in banned if i < logits_BKV.shape[2]]:
                logits_BKV[:, :, known] = -torch.inf
            yield chosen, logits_BKV, ids_BT[:, -num_scored:]
            del logits_BKV  # before the next batch's exist; so should the reader


def _of_each(measure: Callable[..., Tensor], *parts_B: Tensor) -> NDArray[Any]:
    """A measure of each row of a batch alone, [B, K]: its temporary memory is a row's."""
    return np.stack([measure(*row).cpu().numpy() for row in zip(*parts_B, strict=True)])


@torch.no_grad()
def nll_rows(
    model: CausalLM,
    rows: Sequence[Sequence[int]],
    num_scored: int,
    *,
    stage: Stage | None = None,
) -> NDArray[np.float64]:
    """Negative log-likelihood of the last `num_scored` tokens of every row, [N, K], in nats."""
    nll_NK = np.empty((len(rows), num_scored))
    done = 0
    for chosen, logits_BKV, target_BK in _scored_batches(model, rows, num_scored):
        nll_NK[chosen] = _of_each(token_nll_nats, logits_BKV, target_BK)
        del logits_BKV
        done += len(chosen)
        if stage:
            stage.update(done)
    return nll_NK


@torch.no_grad()
def score_rows(
    model: CausalLM,
    rows: Sequence[Sequence[int]],
    num_scored: int,
    *,
    stage: Stage | None = None,
) -> TokenScores:
    """What a model says about the last `num_scored` tokens of every row: arrays [N, K]."""
    shape = (len(rows), num_scored)
    found = TokenScores(np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.int64))
    done = 0
    for chosen, logits_BKV, target_BK in _scored_batches(model, rows, num_scored):
        found.nll_NK[chosen] = _of_each(token_nll_nats, logits_BKV, target_BK)
        found.entropy_NK[chosen] = _of_each(prediction_entropy_nats, logits_BKV)
        found.top1_NK[chosen] = _of_each(top_token, logits_BKV)
        del logits_BKV
        done += len(chosen)
        if stage:
            stage.update(done)
    return found


@torch.no_grad()
def choose_rows(
    model: CausalLM, rows: Sequence[Sequence[int]], num_scored: int, *, banned: Sequence[int] = ()
) -> NDArray[np.int64]:
    """What `model` itself would choose as the last `num_scored` tokens of every row, [N, K].

    `banned` tokens are never chosen.
    """
    top1_NK = np.empty((len(rows), num_scored), dtype=np.int64)
    for chosen, logits_BKV, _ in _scored_batches(model, rows, num_scored, banned):
        top1_NK[chosen] = _of_each(top_token, logits_BKV)
        del logits_BKV
    return top1_NK


@torch.no_grad()
def rank_rows(
    model: CausalLM, rows: Sequence[Sequence[int]], num_scored: int, *, banned: Sequence[int] = ()
) -> NDArray[np.int64]:
    """Rank of the last `num_scored` tokens of every row under `model`, [N, K].

    `banned` tokens could not have been chosen, so they count for no rank.
    """
    rank_NK = np.empty((len(rows), num_scored), dtype=np.int64)
    for chosen, logits_BKV, target_BK in _scored_batches(model, rows, num_scored, banned):
        rank_NK[chosen] = _of_each(token_ranks, logits_BKV, target_BK)
        del logits_BKV
    return rank_NK


def window_losses(
    model: CausalLM,
    ids_NT: NDArray[np.int64],
    label_NT: NDArray[np.bool_],
    length_N: NDArray[np.int64],
    stage: Stage | None = None,
) -> NDArray[np.float64]:
    """Mean negative log-likelihood of each window's labelled tokens, [N], in nats.

    `length_N` counts a row's tokens before its padding, which is run along where a causal model
    cannot see it; where the width of a row decides its rope, each row is run at its own length.
    """
    width = ids_NT.shape[1]
    if crosses_switch(base_of(model).config, [width, *length_N.tolist()]):
        loss_N = np.empty(len(ids_NT))
        for length in np.unique(length_N):
            of_N = length_N == length
            parts = (ids_NT[of_N, :length], label_NT[of_N, :length], length_N[of_N])
            loss_N[of_N] = window_losses(model, *parts)
            if stage:
                stage.update(int((length_N <= length).sum()))
        return loss_N
    return _labelled_mean(nll_rows(model, ids_NT.tolist(), width - 1, stage=stage), label_NT)


def window_losses_beside(
    model: CausalLM,
    ids_NT: NDArray[np.int64],
    label_NT: NDArray[np.bool_],
    nll_NK: NDArray[np.float64],
) -> NDArray[np.float64]:
    """`window_losses` of rows without padding whose last K tokens are scored: the rest is run.

    `nll_NK` [N, K] in nats, from one pass over each row.
    """
    if crosses_switch(base_of(model).config, range(1, ids_NT.shape[1] + 1)):
        length_N = np.full(len(ids_NT), ids_NT.shape[1])
        return window_losses(model, ids_NT, label_NT, length_N)
    before = ids_NT.shape[1] - nll_NK.shape[1]
    if before > 1:
        lead_NK = nll_rows(model, ids_NT[:, :before].tolist(), before - 1)
        nll_NK = np.concatenate([lead_NK, nll_NK], axis=1)
    return _labelled_mean(nll_NK, label_NT)


def _labelled_mean(nll_NK: NDArray[np.float64], label_NT: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over each row's labelled tokens but the first, [N]."""
    label_NK = label_NT[:, 1:]
    mean_N: NDArray[np.float64] = np.where(label_NK, nll_NK, 0).sum(axis=1) / label_NK.sum(axis=1)
    return mean_N
