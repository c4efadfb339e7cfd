"""Which arms are tested against which, and the tests. Pure.

Shape letters: S trainings, N contexts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import EvaluateConfig
from hyperfitting.evaluate.measurements import seed_groups
from hyperfitting.measure.differences import (
    Difference,
    difference_over_contexts,
    difference_over_trainings,
)
from hyperfitting.measure.intervals import bootstrap_mean, holm, holm_level, sign_flip_p
from hyperfitting.records import HUMAN, ORIGINAL, SIGNIFICANT, Arm, MetricValues, PairedTest
from hyperfitting.records.arms import AT_LOSS, NULL

TEXT = ("ttr", "bigram_repetition", "trigram_repetition")
TESTED = (*TEXT, "prediction_entropy_nats", "val_loss")
Columns = dict[tuple[Arm, str], list[MetricValues]]  # one for each training
FEW = "fewer than two contexts with both values"
ONE_TRAINING = "one training each: methods cannot be compared, another training would differ too"
NO_SPREAD = "every context and training gives the same difference: nothing to test it against"


@dataclass(frozen=True)
class _Pair:
    """Two arms on one metric; without values where fewer than two contexts have them."""

    empty: PairedTest  # all but the numbers
    difference_N: NDArray[np.float64] | None = None  # means over trainings
    sure: Difference | None = None


def _no_conflict(a: Arm, b: Arm) -> bool:
    """Whether no setting that sets both apart from their like differs between them."""
    return all(b.parameters.get(key, value) == value for key, value in a.settings)


def _pairs(arms: Sequence[Arm]) -> Iterator[tuple[Arm, Arm, tuple[str, ...]]]:
    """Arms to compare, and on which metrics."""
    references = [arm for arm in (ORIGINAL, HUMAN) if arm in arms]
    tuned = [arm for arm in arms if arm.is_tuned]
    last = [arm for arm in tuned if not (arm.is_best_val or arm.is_null)]
    for other, a in product(references, tuned):
        yield a, other, TESTED
    for a, b in product(last, tuned):
        if b.is_null and a.model == b.model and a.seed == b.seed and _no_conflict(a, b):
            yield a, b, TESTED
    # The paper's question first: a tuned tail against everything else.
    late_first = sorted(last, key=lambda arm: arm.model != "late_stage_lora")
    for a, b in combinations(late_first, 2):
        if a.model != b.model and a.seed == b.seed and _no_conflict(a, b):
            yield a, b, TESTED
    for a, b in combinations([arm for arm in arms if arm.at_loss is not None], 2):
        if a.seed == b.seed and _is_at_one_loss(a, b):
            yield a, b, TESTED
    decoded = [arm for arm in arms if _is_decoder_of_original(arm)]
    for a, b in product(last, decoded):
        yield a, b, TEXT
    for arm in arms:
        if arm.matched_to and arm.is_sampled:
            for a in (arm.match.greedy(), arm.match):
                if a in arms:
                    yield a, arm, TEXT


def _is_at_one_loss(a: Arm, b: Arm) -> bool:
    """Whether two ways to train on the same texts were kept at the same training loss.

    Ways to train may differ in any setting but the order of the data.
    """
    same = (AT_LOSS, NULL, "trained_on", "order_seed")
    return all(a.parameters.get(key) == b.parameters.get(key) for key in same)


def _family(test: PairedTest) -> str:
    """Tests that Holm's correction runs over together.

    Asking for more decoders, or for checkpoints, must not change what is said of the models.
    """
    a, b = test.arms
    if a.at_loss is not None:
        return "at_loss"
    return "decoders" if _is_decoder_of_original(b) else "models"


def _is_decoder_of_original(arm: Arm) -> bool:
    return arm.is_decoded and not arm.is_trained


def _is_of_each_training(a: Arm, b: Arm) -> bool:
    """Whether `b` comes from the same trainings as `a`: the original at each one's entropy."""
    return b.matched_to is not None and a.matched_to is None


def _values(columns: Sequence[MetricValues]) -> NDArray[np.float64]:
    """The values of every training and context, [S, N], by seed; NaN where undefined."""
    by_seed = sorted(columns, key=lambda each: each.arm.seed or 0)
    return np.array([each.values for each in by_seed], dtype=float)


def _compare(a: Sequence[MetricValues], b: Sequence[MetricValues]) -> _Pair:
    """Both arms on the contexts that have all values, and what another draw would change."""
    first, second = a[0], b[0]
    one_model = not second.arm.is_trained or _is_of_each_training(first.arm, second.arm)
    a_SN, b_SN = _values(a), _values(b)
    is_defined_N = ~(np.isnan(a_SN).any(axis=0) | np.isnan(b_SN).any(axis=0))
    a_SN, b_SN = a_SN[:, is_defined_N], b_SN[:, is_defined_N]
    over_trainings = len(a) > 1 and (one_model or len(b) > 1)
    empty = PairedTest(
        a=first.arm.name,
        b=second.arm.name,
        seed=first.arm.seed if len(a) == 1 else None,
        a_parameters=first.arm.parameters,
        b_parameters=second.arm.parameters,
        metric=first.metric,
        difference=None,
        low=None,
        high=None,
        p=None,
        p_holm=None,
        n=int(is_defined_N.sum()),
        num_seeds=len(a),
        num_seeds_b=0 if one_model else len(b),
        noise="trainings and contexts" if over_trainings else "contexts",
    )
    if empty.n < 2:
        return _Pair(replace(empty, reason=FEW))
    difference_N = (
        (a_SN - b_SN).mean(axis=0) if one_model else a_SN.mean(axis=0) - b_SN.mean(axis=0)
    )
    if not over_trainings:
        return _Pair(empty, difference_N, difference_over_contexts(difference_N))
    sure = (
        difference_over_trainings(a_SN - b_SN)
        if one_model
        else difference_over_trainings(a_SN, b_SN)
    )
    return _Pair(empty, difference_N, sure)


def _difference(pair: _Pair, config: EvaluateConfig) -> PairedTest:
    """The test of "no difference"."""
    test = replace(pair.empty, confidence=config.confidence)
    if pair.sure is None or pair.difference_N is None:
        return test
    test = replace(test, difference=pair.sure.value)
    if test.noise == "trainings and contexts":
        low, high = pair.sure.interval(config.confidence)
        p = pair.sure.p()
        return replace(test, low=low, high=high, p=p, reason=NO_SPREAD if p is None else None)
    interval = bootstrap_mean(
        pair.difference_N, resamples=config.resamples, confidence=config.confidence,
        seed=config.seed,
    )  # fmt: skip
    test = replace(test, low=interval.low, high=interval.high)
    if test.num_seeds_b:
        return replace(test, reason=ONE_TRAINING)
    p = sign_flip_p(pair.difference_N, flips=config.resamples, seed=config.seed)
    return replace(test, p=p)


def _equivalence(pair: _Pair, config: EvaluateConfig) -> PairedTest:
    """Is the mean difference within the margin? Two one-sided tests, with the interval of both."""
    test = replace(pair.empty, margin=config.margin_ttr, confidence=1 - 2 * SIGNIFICANT)
    if pair.sure is None:
        return test
    low, high = pair.sure.interval(1 - 2 * SIGNIFICANT)
    p = pair.sure.equivalence_p(config.margin_ttr)
    return replace(test, difference=pair.sure.value, low=low, high=high, p_equivalence=p)


def _to_test(columns: Sequence[MetricValues]) -> Columns:
    """Columns by arm and metric; those of one arm's trainings together, under no seed."""
    groups = seed_groups(columns)
    seeded = {id(each) for group in groups for each in group}
    by_key: Columns = {}
    # Values on the arm's own path come first, and are kept.
    for group in [*([each] for each in columns if id(each) not in seeded), *groups]:
        arm = group[0].arm if len(group) == 1 else group[0].arm.variant
        by_key.setdefault((arm, group[0].metric), group)
    return by_key


def _adjusted(pairs: Sequence[_Pair], tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The tests of one table with Holm's correction over them, and what can be claimed."""
    ps = [test.p for test in tests if test.p is not None]
    adjusted = iter(holm(ps))
    found = []
    for pair, test in zip(pairs, tests, strict=True):
        if test.p is None:
            found.append(test)
            continue
        claimable = None
        if test.noise == "trainings and contexts" and pair.sure is not None:
            others = ps.copy()
            others.remove(test.p)
            claimable = pair.sure.half_width(holm_level(others))
        found.append(replace(test, p_holm=next(adjusted), claimable=claimable))
    return found


def paired_tests(columns: Sequence[MetricValues], config: EvaluateConfig) -> list[PairedTest]:
    """Tests of paired differences with Holm's correction, then tests of equal variety.

    Tuned arms against the original and the human text and against those trained on windows that
    say nothing, methods against each other on the same seed, tuned arms against the original
    sampled at equal entropy and, in families of their own, against other decoders, and checkpoints
    kept at one training loss against each other. Of models trained once: two-sided sign flips over
    contexts. Of arms trained several times: t tests over trainings and contexts. Equal variety
    (TTR) is tested where the question is whether sampling would do.
    """
    by_key = _to_test(columns)
    arms = list(dict.fromkeys(arm for arm, _ in by_key))
    pairs = [
        _compare(by_key[a, metric], by_key[b, metric])
        for a, b, metrics in _pairs(arms)
        for metric in metrics
        if (a, metric) in by_key and (b, metric) in by_key
    ]
    tests: list[PairedTest] = []
    for name in ("models", "decoders", "at_loss"):
        family = [each for each in pairs if _family(each.empty) == name]
        tests += _adjusted(family, [_difference(each, config) for each in family])
    samples = [each for each in pairs if each.empty.metric == "ttr" and _asks_for_equal(each.empty)]
    return tests + [_equivalence(each, config) for each in samples]


def _asks_for_equal(test: PairedTest) -> bool:
    """Whether it is asked if another way to decode the original is as varied."""
    other = test.arms[1]
    return _is_decoder_of_original(other) or other.matched_to is not None
