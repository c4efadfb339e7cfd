"""From what the arms wrote and scored to means, intervals and tests. Pure.

Shape letters: N contexts, K tokens of a continuation.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import EvaluateConfig
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.measure.intervals import bootstrap_mean, holm, sign_flip_p
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.records import Ending, Measurement, MetricValues, PairedTest
from hyperfitting.study.arms import ArmOutputs

Arm = tuple[str, int | None]  # name and training seed
ENDINGS: tuple[Ending, ...] = ("ended", "looped", "truncated")
HUMAN_HAS_NO = "human text is not the output of a model"
NO_INTERVAL = "one context has no interval"
TESTED = ("ttr", "bigram_repetition", "trigram_repetition", "prediction_entropy_nats", "val_loss")


def _floats(array: NDArray[np.float64]) -> list[float | None]:
    return [float(value) for value in array]


def _text_values(outputs: ArmOutputs) -> list[MetricValues]:
    length = max(len(g.continuation_ids) for g in outputs.fixed)
    return [
        MetricValues(
            arm=outputs.arm,
            seed=outputs.seed,
            metric=name,
            values=[metric.of_text(g.continuation_ids) for g in outputs.fixed],
            mode="fixed_length",
            length=length,
        )
        for name, metric in METRICS.items()
        if metric.of_text is not None
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
        MetricValues(
            arm=outputs.arm,
            seed=outputs.seed,
            metric=name,
            values=values,
            mode="natural",
            length=cap,
        )
        for name, values in columns.items()
    ]


def metric_values(
    outputs: ArmOutputs,
    original: ArmOutputs,
    original_top1_on_own_path_NK: NDArray[np.int64] | None,
    config: EvaluateConfig,
) -> list[MetricValues]:
    """Every metric of one arm, for every context."""
    values = _text_values(outputs) + _ending_values(outputs, config.natural_tokens)
    forced, own = outputs.teacher_forced, outputs.own_path
    if forced is None or own is None or outputs.val_loss_N is None:
        return values
    assert original.teacher_forced is not None, "the original is a model"
    assert original_top1_on_own_path_NK is not None, "the original scores every model's path"
    agreement_tf = top1_agreement(forced.top1_NK, original.teacher_forced.top1_NK)
    agreement_op = top1_agreement(own.top1_NK, original_top1_on_own_path_NK)
    scored = replace(values[0], mode=None, prefix="TF")
    return [
        *values,
        replace(
            scored,
            metric="prediction_entropy_nats",
            values=_floats(forced.entropy_NK.mean(axis=1)),
        ),
        replace(
            scored,
            metric="prediction_entropy_own_nats",
            prefix="OP",
            mode="fixed_length",
            values=_floats(own.entropy_NK.mean(axis=1)),
        ),
        replace(scored, metric="top1_agreement_tf", values=_floats(agreement_tf)),
        replace(
            scored,
            metric="top1_agreement_op",
            prefix="OP",
            mode="fixed_length",
            values=_floats(agreement_op),
        ),
        replace(scored, metric="val_loss", length=None, values=_floats(outputs.val_loss_N)),
    ]


def _measure(values: MetricValues, config: EvaluateConfig, model: str, domain: str) -> Measurement:
    defined = np.array([v for v in values.values if v is not None])
    empty = Measurement(
        arm=values.arm,
        metric=values.metric,
        mean=None,
        low=None,
        high=None,
        n=len(defined),
        undefined=len(values.values) - len(defined),
        model=model,
        domain=domain,
        seed=values.seed,
        mode=values.mode,
        length=values.length,
        prefix=values.prefix,
        parameters={"decoder": "greedy"},
    )
    if not len(defined):
        return replace(empty, reason="undefined for every context")
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
        reason="defined for fewer than 90 % of the contexts" if few else reason,
    )


def _perplexity(loss: Measurement) -> Measurement:
    """Exp of the validation loss; the interval's ends too, because exp is increasing."""

    def exp(value: float | None) -> float | None:
        return None if value is None or value > 700 else math.exp(value)

    mean = exp(loss.mean)
    reason = "too large for a number" if mean is None and loss.mean is not None else loss.reason
    return replace(
        loss, metric="val_ppl", mean=mean, low=exp(loss.low), high=exp(loss.high), reason=reason
    )


def measurements(
    columns: Sequence[MetricValues], config: EvaluateConfig, *, model: str, domain: str
) -> list[Measurement]:
    """One cell per arm and metric; metrics that `human` cannot have are null with their reason."""
    rows = [_measure(values, config, model, domain) for values in columns]
    rows += [_perplexity(row) for row in rows if row.metric == "val_loss"]
    human = next((row for row in rows if row.arm == "human"), None)
    if human is not None:
        missing = {row.metric: row for row in rows if row.arm != "human"}
        missing = {m: r for m, r in missing.items() if METRICS.get(m) and not METRICS[m].of_text}
        rows += [
            replace(
                row,
                arm="human",
                seed=None,
                mean=None,
                low=None,
                high=None,
                n=0,
                undefined=human.n,
                reason=HUMAN_HAS_NO,
            )
            for row in missing.values()
        ]
    return rows


def _test(a: MetricValues, b: MetricValues, config: EvaluateConfig) -> PairedTest:
    pairs = [
        x - y for x, y in zip(a.values, b.values, strict=True) if x is not None and y is not None
    ]
    empty = PairedTest(
        a=a.arm,
        b=b.arm,
        seed=a.seed,
        metric=a.metric,
        difference=None,
        low=None,
        high=None,
        p=None,
        p_holm=None,
        n=len(pairs),
    )
    if len(pairs) < 2:
        return replace(empty, reason="fewer than two contexts with both values")
    differences = np.array(pairs)
    interval = bootstrap_mean(
        differences, resamples=config.resamples, confidence=config.confidence, seed=config.seed
    )
    return replace(
        empty,
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p=sign_flip_p(differences, flips=config.resamples, seed=config.seed),
    )


def paired_tests(columns: Sequence[MetricValues], config: EvaluateConfig) -> list[PairedTest]:
    """Tuned arms against the original and the human text, and Late-Stage LoRA against the others.

    Arms of one training seed are compared with each other. Two-sided sign flips on per-context
    differences; Holm over all tests of the table.
    """
    by_key = {(c.arm, c.seed, c.metric): c for c in columns}
    arms = list(dict.fromkeys((c.arm, c.seed) for c in columns))
    tuned = [(arm, seed) for arm, seed in arms if arm not in ("human", "original")]
    late = [(arm, seed) for arm, seed in tuned if arm == "late_stage_lora"]
    pairs: list[tuple[Arm, Arm]]
    pairs = [(a, (other, None)) for other, a in product(("original", "human"), tuned)]
    pairs += [(a, b) for a, b in product(late, tuned) if a != b and a[1] == b[1]]
    tests = [
        _test(by_key[*a, metric], by_key[*b, metric], config)
        for (a, b), metric in product(pairs, TESTED)
        if (*a, metric) in by_key and (*b, metric) in by_key
    ]
    adjusted = iter(holm([test.p for test in tests if test.p is not None]))
    return [test if test.p is None else replace(test, p_holm=next(adjusted)) for test in tests]
