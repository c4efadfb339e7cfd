"""From the values of every context to means with intervals. Pure.

Shape letters: S training seeds, N contexts.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hyperfitting.config import EvaluateConfig
from hyperfitting.evaluate.per_set import SetValue, share_bounds
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.measure.intervals import (
    bootstrap_mean,
    bootstrap_mean_over_seeds,
    percentiles_around,
)
from hyperfitting.records import Measurement, MetricValues

HUMAN_HAS_NO = "human text is not the output of a model"
NO_INTERVAL = "one context has no interval"
LARGEST = "overlap_max"  # a metric that is itself the largest of all texts
FEW_DEFINED = "defined for fewer than 90 % of the contexts"


def _measure(values: MetricValues, config: EvaluateConfig, model: str, domain: str) -> Measurement:
    defined = np.array([v for v in values.values if v is not None])
    empty = Measurement(
        arm=values.arm.name,
        metric=values.metric,
        mean=None,
        low=None,
        high=None,
        n=len(defined),
        undefined=len(values.values) - len(defined),
        model=model,
        domain=domain,
        seed=values.arm.seed,
        mode=values.mode,
        length=values.length,
        prefix=values.prefix,
        parameters=values.arm.parameters,
    )
    if not len(defined):
        return replace(empty, reason=values.note or "undefined for every context")
    interval = bootstrap_mean(
        defined, resamples=config.resamples, confidence=config.confidence, seed=config.seed
    )
    few = len(defined) < 0.9 * len(values.values)
    reason = NO_INTERVAL if interval.low is None else None
    return replace(
        empty,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        reason=values.note or (FEW_DEFINED if few else reason),
    )


def seed_groups(columns: Sequence[MetricValues]) -> list[list[MetricValues]]:
    """Columns that differ in the training seed only, where there are several."""
    groups: dict[tuple[object, ...], list[MetricValues]] = defaultdict(list)
    for each in columns:
        if each.arm.seed is not None:
            kind = (each.arm.variant, each.metric)
            groups[(*kind, each.mode, each.length, each.prefix)].append(each)
    return [group for group in groups.values() if len(group) > 1]


def over_seeds(group: Sequence[MetricValues]) -> MetricValues:
    """The mean over seeds of every context; undefined where a seed is."""
    first = group[0]
    means = [
        None
        if any(v is None for v in values)
        else float(np.mean([v for v in values if v is not None]))
        for values in zip(*(each.values for each in group), strict=True)
    ]
    note = next((each.note for each in group if each.note), None)
    return replace(first, arm=first.arm.variant, values=means, note=note)


def _over_seeds(
    group: Sequence[MetricValues], config: EvaluateConfig, model: str, domain: str
) -> Measurement:
    """The mean over seeds and contexts; the interval resamples both."""
    mean = over_seeds(group)
    row = replace(_measure(mean, config, model, domain), num_seeds=len(group))
    defined = [i for i, value in enumerate(mean.values) if value is not None]
    if len(defined) < 2:
        return row
    values_SN = np.array([[each.values[i] for i in defined] for each in group], dtype=float)
    interval = bootstrap_mean_over_seeds(
        values_SN, resamples=config.resamples, confidence=config.confidence, seed=config.seed
    )
    return replace(row, mean=interval.mean, low=interval.low, high=interval.high)


def _perplexity(loss: Measurement) -> Measurement:
    """Exp of the validation loss; the interval's ends too, because exp is increasing."""

    def exp(value: float | None) -> float | None:
        return None if value is None or value > 700 else math.exp(value)

    mean = exp(loss.mean)
    reason = "too large for a number" if mean is None and loss.mean is not None else loss.reason
    return replace(
        loss, metric="val_ppl", mean=mean, low=exp(loss.low), high=exp(loss.high), reason=reason
    )


def set_measurements(
    values: Sequence[SetValue], config: EvaluateConfig, *, model: str, domain: str
) -> list[Measurement]:
    """Cells of metrics that a set of texts has, and their mean over training seeds.

    The mean has an interval where the bootstrap's draws are at hand, which are of the same
    contexts for every arm: each draw picks seeds too. Else the reason has the seeds' range.
    """
    rows = [
        Measurement(
            arm=value.arm.name,
            metric=value.metric,
            mean=value.value,
            low=value.low,
            high=value.high,
            n=value.n if value.value is not None else 0,
            undefined=0 if value.value is not None else value.n,
            model=model,
            domain=domain,
            seed=value.arm.seed,
            mode="fixed_length",
            length=value.length,
            parameters=value.arm.parameters,
            reason=value.reason,
        )
        for value in values
    ]
    groups: dict[tuple[object, ...], list[tuple[Measurement, SetValue]]] = defaultdict(list)
    for row, value in zip(rows, values, strict=True):
        if row.seed is not None:
            groups[row.key.variant, row.metric].append((row, value))
    several = (group for group in groups.values() if len(group) > 1)
    return rows + [_set_over_seeds(group, config) for group in several]


def _set_over_seeds(
    group: Sequence[tuple[Measurement, SetValue]], config: EvaluateConfig
) -> Measurement:
    first, seeds = group[0][0], len(group)
    row = replace(first, seed=None, num_seeds=seeds, mean=None, low=None, high=None)
    means = [each.mean for each, _ in group if each.mean is not None]
    if len(means) < seeds:
        texts = first.n + first.undefined
        return replace(row, n=0, undefined=texts, reason="undefined for a training")
    # The longest run of all texts is that of all trainings' texts; a mean of maxima is none.
    mean = max(means) if row.metric == LARGEST else float(np.mean(means))
    row = replace(row, mean=mean, reason=f"{seeds} trainings: {min(means):.3g} to {max(means):.3g}")
    draws = [value.draws_R for _, value in group if value.draws_R is not None]
    if len(draws) < seeds:
        return row
    draws_SR = np.stack(draws)
    rng = np.random.default_rng(config.seed)
    times_RS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws_SR.shape[1])
    draws_R = (times_RS.T * draws_SR).sum(axis=0) / seeds
    bounds = share_bounds if row.metric == "mauve" else percentiles_around
    low, high = bounds(mean, draws_R, config.confidence)
    return replace(row, low=low, high=high)


def measurements(
    columns: Sequence[MetricValues], config: EvaluateConfig, *, model: str, domain: str
) -> list[Measurement]:
    """One cell per arm and metric, and one over its seeds where an arm was trained several times.

    Metrics that `human` cannot have are null with their reason.
    """
    rows = [_measure(values, config, model, domain) for values in columns]
    rows += [_over_seeds(group, config, model, domain) for group in seed_groups(columns)]
    rows += [_perplexity(row) for row in rows if row.metric == "val_loss"]
    human = next((row for row in rows if row.arm == "human"), None)
    if human is not None:
        missing = {row.metric: row for row in rows if row.arm != "human"}
        own = {row.metric for row in rows if row.arm == "human"}
        missing = {m: r for m, r in missing.items() if m in METRICS and m not in own}
        rows += [
            replace(
                row,
                arm="human",
                seed=None,
                num_seeds=1,
                parameters={},
                mean=None,
                low=None,
                high=None,
                n=0,
                undefined=human.n + human.undefined,
                reason=HUMAN_HAS_NO,
            )
            for row in missing.values()
        ]
    return rows
