"""Which arms are tested against which, and the tests. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from hyperfitting.config import EvaluateConfig
from hyperfitting.measure.intervals import bootstrap_mean, equivalence_p, holm, sign_flip_p
from hyperfitting.records import Arm, MetricValues, PairedTest
from hyperfitting.study.measurements import over_seeds, seed_groups

TEXT = ("ttr", "bigram_repetition", "trigram_repetition")
TESTED = (*TEXT, "prediction_entropy_nats", "val_loss")
Columns = dict[tuple[Arm, str], MetricValues]
Seeds = dict[Arm, int]  # of arms that were trained several times


def is_control(arm: Arm) -> bool:
    """Whether an arm is a model at another temperature, sampled, or with another decoder."""
    is_decoded = "+" in arm.name
    return is_decoded or arm.name.endswith("_sampled") or arm.name == "original_entropy_matched"


def _no_conflict(a: Arm, b: Arm) -> bool:
    """Whether no setting that sets both apart from their like differs between them."""
    return all(b.fields.get(key, value) == value for key, value in a.fields.items())


def _pairs(arms: Sequence[Arm]) -> Iterator[tuple[Arm, Arm, tuple[str, ...]]]:
    """Arms to compare, and on which metrics."""
    references = [arm for arm in (Arm("original"), Arm("human")) if arm in arms]
    tuned = [arm for arm in arms if not is_control(arm) and arm not in references]
    late = [arm for arm in tuned if arm.name == "late_stage_lora"]
    last = [arm for arm in tuned if arm.name != "best_val_checkpoint"]
    for other, a in product(references, tuned):
        yield a, other, TESTED
    for a, b in product(late, last):
        if a != b and a.seed == b.seed and _no_conflict(a, b):
            yield a, b, TESTED
    decoded = [arm for arm in arms if arm.name.startswith("original+")]
    for a, b in product(last, decoded):
        yield a, b, TEXT
    for arm in arms:
        if arm.name != "original_entropy_matched_sampled":
            continue
        fields = arm.fields
        name = fields.pop("matched_to")
        matched = Arm(name, arm.seed, tuple(fields.items()))
        for a in (matched, matched._replace(name=f"{name}_sampled")):
            if a in arms:
                yield a, arm, TEXT


def _same_sharpness(arms: Sequence[Arm]) -> Iterator[tuple[Arm, Arm]]:
    """Tuned arms and the original matched to them: is their own text equally predictable?"""
    for arm in arms:
        if arm.name == "original_entropy_matched":
            fields = arm.fields
            yield Arm(fields.pop("matched_to"), arm.seed, tuple(fields.items())), arm


def _differences(a: MetricValues, b: MetricValues) -> list[float]:
    pairs = zip(a.values, b.values, strict=True)
    return [x - y for x, y in pairs if x is not None and y is not None]


def _test(a: MetricValues, b: MetricValues, config: EvaluateConfig, num_seeds: int) -> PairedTest:
    pairs = _differences(a, b)
    empty = PairedTest(
        a=a.arm.name,
        b=b.arm.name,
        seed=a.arm.seed,
        a_parameters=a.arm.fields,
        b_parameters=b.arm.fields,
        metric=a.metric,
        difference=None,
        low=None,
        high=None,
        p=None,
        p_holm=None,
        n=len(pairs),
        num_seeds=num_seeds,
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


def _equivalence(
    a: MetricValues, b: MetricValues, config: EvaluateConfig, num_seeds: int
) -> PairedTest:
    """Is the mean difference within the margin? Two one-sided tests."""
    test = replace(_test(a, b, config, num_seeds), p=None, margin=config.margin_nats)
    if test.difference is None:
        return test
    p = equivalence_p(np.array(_differences(a, b)), config.margin_nats)
    return replace(test, p_equivalence=p)


def _to_test(columns: Sequence[MetricValues]) -> tuple[Columns, Seeds]:
    """Columns by arm and metric; means over seeds where arms were trained several times."""
    seeds: Seeds = {}
    groups = seed_groups(columns)
    if groups:
        seeded = {id(each) for group in groups for each in group}
        columns = [c for c in columns if id(c) not in seeded] + [over_seeds(g) for g in groups]
        seeds = {over_seeds(group).arm: len(group) for group in groups}
    by_key: Columns = {}
    for column in columns:  # values on the arm's own path come first, and are kept
        by_key.setdefault((column.arm, column.metric), column)
    return by_key, seeds


def _adjusted(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The tests of one table with Holm's correction over them."""
    adjusted = iter(holm([test.p for test in tests if test.p is not None]))
    return [test if test.p is None else replace(test, p_holm=next(adjusted)) for test in tests]


def paired_tests(columns: Sequence[MetricValues], config: EvaluateConfig) -> list[PairedTest]:
    """Two-sided sign flips on per-context differences, Holm over them, then equivalence.

    Tests against other decoders are a table of their own.

    Tuned arms against the original and the human text, Late-Stage LoRA against the others of its
    seed, and tuned arms against the original sampled at equal entropy. With several seeds each
    context has its mean over them.
    """
    by_key, seeds = _to_test(columns)
    arms = list(dict.fromkeys(arm for arm, _ in by_key))
    tests = [
        _test(by_key[a, metric], by_key[b, metric], config, seeds.get(a, 1))
        for a, b, metrics in _pairs(arms)
        for metric in metrics
        if (a, metric) in by_key and (b, metric) in by_key
    ]
    # Tables of their own: asking for more decoders must not change what is said of the models.
    is_of_decoder = [test.b.startswith("original+") for test in tests]
    tests = [
        test
        for kind in (False, True)
        for test in _adjusted([t for t, of in zip(tests, is_of_decoder, strict=True) if of == kind])
    ]
    own = "prediction_entropy_own_nats"
    return tests + [
        _equivalence(by_key[a, own], by_key[b, own], config, seeds.get(a, 1))
        for a, b in _same_sharpness(arms)
        if (a, own) in by_key and (b, own) in by_key
    ]
