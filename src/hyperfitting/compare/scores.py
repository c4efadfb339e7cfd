"""What two models say about the same tokens, position by position.

Shape letters: N rows, K scored positions of a row, V vocabulary. Logits exist for one row at a
time; only numbers per position are kept.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hyperfitting.measure.entropy import prediction_entropy_nats
from hyperfitting.measure.likelihood import token_nll_nats
from hyperfitting.measure.ranks import token_ranks, top_token
from hyperfitting.measure.spearman import correlations
from hyperfitting.models.forward import TokenScores
from hyperfitting.models.pair import Observer, Pair, PairedLogits, paired_logits
from hyperfitting.progress import Stage
from hyperfitting.records.arrays import Counts, Floats

# Sees the logits of a row after its scores were written; must not change them.
LogitsObserver = Callable[[PairedLogits, "PairScores"], None]
TOP = 100  # tokens of each model in `spearman_top` (definitions, section 3.4)


class PairScores(NamedTuple):
    """Both models on the last K tokens of each row, and how the tuned one ranks against the other.

    `chosen_rank_NK` is the rank in the original of the token the tuned model chooses.
    """

    original: TokenScores
    tuned: TokenScores
    chosen_rank_NK: Counts
    spearman_NK: Floats
    spearman_top_NK: Floats


def empty_scores(num_rows: int, num_scored: int) -> PairScores:
    """Room for the scores of both models."""

    def floats() -> Floats:
        return np.full((num_rows, num_scored), np.nan)

    def counts() -> Counts:
        return np.zeros((num_rows, num_scored), np.int64)

    one, two = (TokenScores(floats(), floats(), counts()) for _ in range(2))
    return PairScores(one, two, counts(), floats(), floats())


def score_pair(
    into: PairScores, found: PairedLogits, vocabulary: int, banned: Sequence[int] = ()
) -> None:
    """Mutates `into`: writes the scores of one row.

    Choices and ranks leave out `banned` tokens and those that one model has no logit for; rank
    correlations are over the first `vocabulary` tokens.
    """
    row, one_KV, two_KV, target_K = found
    known = min(one_KV.shape[1], two_KV.shape[1])  # vocabularies may be padded differently
    one_allowed_KV = _score(into.original, row, one_KV, target_K, known, banned)
    two_allowed_KV = _score(into.tuned, row, two_KV, target_K, known, banned)
    chosen_K = top_token(two_allowed_KV)
    into.chosen_rank_NK[row] = token_ranks(one_allowed_KV, chosen_K).cpu().numpy()
    correlate(into, found, vocabulary)


def all_of(observers: Sequence[LogitsObserver]) -> LogitsObserver:
    """One observer that lets each of these see every row, in their order."""

    def see(found: PairedLogits, scores: PairScores) -> None:
        for observer in observers:
            observer(found, scores)

    return see


def correlate(into: PairScores, found: PairedLogits, vocabulary: int, *, every: int = 1) -> None:
    """Mutates `into`: rank correlations of a row, at every `every`-th position."""
    row, one_KV, two_KV, _ = found
    places = slice(None, None, every)
    words = (one_KV[places, :vocabulary], two_KV[places, :vocabulary])
    if one_KV is two_KV:  # one model beside itself: only a constant row is undefined
        is_constant = (words[0].amax(dim=-1) == words[0].amin(dim=-1)).cpu().numpy()
        whole = top = np.where(is_constant, np.nan, 1.0)
    else:
        whole, top = correlations(*words, count=min(TOP, vocabulary))
    into.spearman_NK[row, places], into.spearman_top_NK[row, places] = whole, top


def _score(
    into: TokenScores,
    row: int,
    logits_KV: Tensor,
    target_K: Tensor,
    known: int,
    banned: Sequence[int],
) -> Tensor:
    """Write one model's scores of one row; returns the logits that choices are made from."""
    into.nll_NK[row] = token_nll_nats(logits_KV, target_K).cpu().numpy()
    into.entropy_NK[row] = prediction_entropy_nats(logits_KV).cpu().numpy()
    allowed_KV = without(logits_KV[:, :known], banned)
    into.top1_NK[row] = top_token(allowed_KV).cpu().numpy()
    return allowed_KV


def without(logits_KV: Tensor, banned: Sequence[int]) -> Tensor:
    """The logits with -inf at banned tokens; the same tensor where nothing is banned."""
    known = [i for i in banned if i < logits_KV.shape[1]]
    if not known:
        return logits_KV
    return logits_KV.index_fill(-1, torch.tensor(known, device=logits_KV.device), -torch.inf)


def compare_rows(
    pair: Pair,
    rows: Sequence[Sequence[int]],
    num_scored: int,
    vocabulary: int,
    *,
    banned: Sequence[int] = (),
    each: LogitsObserver | None = None,
    observe: Observer | None = None,
    stage: Stage | None = None,
) -> PairScores:
    """Score the last `num_scored` tokens of every row under both models, in one pass.

    Args:
        pair: the models.
        rows: tokens; of one length where layers are observed.
        num_scored: K.
        vocabulary: rank correlations are over the first so many tokens: those the tokenizer has.
        banned: tokens that decoding never chooses; left out of choices and ranks.
        each: sees the logits of every row, after its scores are written. Must not change them.
        observe: sees the hidden states of every layer.
        stage: where progress is shown.
    """
    scores = empty_scores(len(rows), num_scored)

    def take(found: PairedLogits) -> None:
        score_pair(scores, found, vocabulary, banned)
        if each:
            each(found, scores)

    for done, _ in enumerate(map(take, paired_logits(pair, rows, num_scored, observe=observe))):
        if stage:
            stage.update(done + 1)
    return scores
