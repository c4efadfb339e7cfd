"""From what an arm wrote and scored to the value of every metric for every context. Pure.

Shape letters: N contexts, K tokens of a continuation.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hyperfitting.compare.scores import PairScores
from hyperfitting.evaluate.arms import ArmOutputs
from hyperfitting.measure.catalogue import METRICS, Metric
from hyperfitting.measure.ranks import rank_bin_shares, top1_agreement
from hyperfitting.records import Ending, Generation, MetricValues, Prefix

ENDINGS: tuple[Ending, ...] = ("ended", "looped", "truncated")
RANK_SHARES = ("rank_1", "rank_2_10", "rank_gt_10", "rank_gt_200")


def _floats(array: NDArray[np.float64]) -> list[float | None]:
    """NaN is undefined."""
    return [None if np.isnan(value) else float(value) for value in array]


def _of(metric: Metric, text: Generation) -> float | None:
    if metric.of_tokens is not None:
        return metric.of_tokens(text.continuation_ids)
    assert metric.of_text is not None
    return metric.of_text(text.continuation)


def mean_of_draws(values: Sequence[float | None]) -> float | None:
    """The mean over draws of one context; undefined where a draw is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def _text_values(outputs: ArmOutputs) -> list[MetricValues]:
    length = max(len(g.continuation_ids) for g in outputs.fixed)
    return [
        MetricValues(
            arm=outputs.arm,
            metric=name,
            values=[
                None
                if outputs.is_unknown(context)
                else mean_of_draws([_of(metric, g) for g in draws])
                for context, draws in enumerate(zip(*outputs.draws, strict=True))
            ],
            mode="fixed_length",
            length=length,
            note=outputs.unknown_in_words,
        )
        for name, metric in METRICS.items()
        if metric.is_of_text
    ]


def _ending_values(outputs: ArmOutputs, cap: int) -> list[MetricValues]:
    if outputs.natural is None:
        return []
    columns: dict[str, list[float | None]] = {
        f"{kind}_rate": [float(g.ending == kind) for g in outputs.natural] for kind in ENDINGS
    }
    columns["mean_length"] = [
        float(len(g.continuation_ids) - (g.ending == "ended")) for g in outputs.natural
    ]
    return [
        MetricValues(arm=outputs.arm, metric=name, values=values, mode="natural", length=cap)
        for name, values in columns.items()
    ]


def _mean_of_defined(values_NK: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each context over the positions that have a value, NaN where none has, [N]."""
    count_N = (~np.isnan(values_NK)).sum(axis=1)
    mean_N: NDArray[np.float64] = np.where(
        count_N > 0, np.nansum(values_NK, axis=1) / np.maximum(count_N, 1), np.nan
    )
    return mean_N


def _score_values(empty: MetricValues, scores: PairScores, prefix: Prefix) -> list[MetricValues]:
    """What comes from both models' logits on one kind of prefix."""
    entropy = "prediction_entropy_nats" if prefix == "TF" else "prediction_entropy_own_nats"
    shares = [rank_bin_shares(rank_K) for rank_K in scores.chosen_rank_NK]
    agreement_N = top1_agreement(scores.tuned.top1_NK, scores.original.top1_NK)
    columns = {
        entropy: scores.tuned.entropy_NK.mean(axis=1),
        f"top1_agreement_{prefix.lower()}": agreement_N,
        "spearman": _mean_of_defined(scores.spearman_NK),
        "spearman_top100": _mean_of_defined(scores.spearman_top_NK),
    }
    columns |= {name: np.array([each[name] for each in shares]) for name in RANK_SHARES}
    mode = None if prefix == "TF" else empty.mode
    return [
        replace(empty, metric=name, prefix=prefix, mode=mode, values=_floats(values))
        for name, values in columns.items()
    ]


def _likelihoods(empty: MetricValues, values: Sequence[float | None]) -> MetricValues:
    """A metric of log-probabilities; undefined for every text where one of them is infinite.

    The mean of the others would be that of an easier set of texts.
    """
    count = sum(value is not None and np.isinf(value) for value in values)
    if not count:
        return replace(empty, values=list(values))
    reason = f"infinite: {count} of {len(values)} texts hold a token of probability 0"
    return replace(empty, values=[None] * len(values), note=reason)


def metric_values(outputs: ArmOutputs, natural_cap: int) -> list[MetricValues]:
    """Every metric of one arm, for every context.

    Values on the arm's own path come before those of the same name on human text.
    """
    texts = _text_values(outputs)
    values = texts + _ending_values(outputs, natural_cap)
    if outputs.own is not None:
        values += _score_values(texts[0], outputs.own, "OP")
    if outputs.forced is not None:
        values += _score_values(texts[0], outputs.forced, "TF")
    if outputs.val_loss_N is not None:
        loss = replace(texts[0], metric="val_loss", prefix="TF", mode=None, length=None)
        values.append(_likelihoods(loss, _floats(outputs.val_loss_N)))
    if outputs.tau_N is not None and outputs.arm.matched_to and not outputs.arm.is_sampled:
        taus: list[float | None] = [float(tau) for tau in outputs.tau_N]
        values.append(replace(texts[0], metric="tau_star", prefix="TF", mode=None, values=taus))
    values += [
        _likelihoods(
            replace(texts[0], metric=name, note=outputs.notes.get(name, texts[0].note)), column
        )
        for name, column in outputs.audit.items()
    ]
    return values
