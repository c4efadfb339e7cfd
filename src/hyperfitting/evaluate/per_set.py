"""What a whole set of texts has: MAUVE, distinct-2, self-BLEU, with intervals where they exist.

Shape letters: N contexts, D features, R bootstrap draws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperfitting.config import EvaluateConfig
from hyperfitting.evaluate.arms import ArmOutputs
from hyperfitting.evaluate.per_context import mean_of_draws
from hyperfitting.measure.intervals import percentiles_around, ratio_draws
from hyperfitting.measure.mauve import mauve
from hyperfitting.measure.quality import distinct_n, distinct_parts, self_bleu
from hyperfitting.models.features import last_token_features
from hyperfitting.progress import Progress
from hyperfitting.records.arrays import Floats
from hyperfitting.records.record import ArmField
from hyperfitting.records.study import MauveArm, MauveSettings

MAUVE_RESAMPLES = 1_000  # each takes a curve of 25 points
OF_A_SET = "one value for all texts together"


class SetValue(NamedTuple):
    """A metric that a set of texts has, and not its single texts."""

    arm: ArmField
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    length: int
    reason: str | None
    draws_R: Floats | None = None  # of the bootstrap; alike for arms of one study


def set_values(
    arms: Sequence[ArmOutputs], config: EvaluateConfig, progress: Progress
) -> tuple[list[SetValue], MauveSettings | None]:
    """Metrics of each arm's texts together, and what MAUVE has to be printed with.

    Raises:
        InputError: a package or the feature model is missing.
    """
    found = [value for outputs in arms for value in _varied(outputs, config)]
    settings = None
    if config.mauve_features is not None:
        values, settings = _mauve_values(arms, config.mauve_features, config, progress)
        found += values
    return found, settings


def _varied(outputs: ArmOutputs, config: EvaluateConfig) -> list[SetValue]:
    length = max(len(g.continuation_ids) for g in outputs.fixed)
    n = len(outputs.fixed)

    unknown = outputs.unknown_in_words

    def value(metric: str, draws: Sequence[float | None], reason: str = OF_A_SET) -> SetValue:
        mean = mean_of_draws(draws) if outputs.mostly_known else None
        noted = [note for note in (reason if mean is not None else None, unknown) if note]
        why = "; ".join(noted) or "undefined for these texts"
        return SetValue(outputs.arm, metric, mean, None, None, n, length, why)

    ids = [[g.continuation_ids for g in texts] for texts in outputs.draws]
    values = [_distinct(value("distinct_2", [distinct_n(texts, 2) for texts in ids]), ids, config)]
    if config.self_bleu:
        bleus = [
            self_bleu([g.continuation for g in texts], seed=config.seed) for texts in outputs.draws
        ]
        values.append(
            value("self_bleu", [each.value for each in bleus], f"{OF_A_SET}; {bleus[0].signature}")
        )
    return values


def _distinct(
    plain: SetValue, ids: Sequence[Sequence[Sequence[int]]], config: EvaluateConfig
) -> SetValue:
    """Distinct-2 with its interval over contexts; each draw of a sampled arm has the same ones."""
    parts = [distinct_parts(texts, 2) for texts in ids]
    if plain.value is None or plain.n < 2 or any((grams_N == 0).any() for _, grams_N in parts):
        return plain
    draws_R = np.mean(
        [ratio_draws(*each, resamples=config.resamples, seed=config.seed) for each in parts], axis=0
    )
    tail = (1 - config.confidence) / 2
    low, high = (float(bound) for bound in np.quantile(draws_R, [tail, 1 - tail]))
    return plain._replace(low=low, high=high, draws_R=draws_R)


def _mauve_values(
    arms: Sequence[ArmOutputs], name: str, config: EvaluateConfig, progress: Progress
) -> tuple[list[SetValue], MauveSettings]:
    """MAUVE of every arm against the human texts of the same contexts (definitions, 2.7)."""
    whole = [[[g.context + g.continuation for g in d] for d in outputs.draws] for outputs in arms]
    distinct = list(dict.fromkeys(text for draws in whole for texts in draws for text in texts))
    with progress.stage(f"features of {name}", len(distinct)) as stage:
        features = last_token_features(
            distinct, name, device=config.device, batch_size=config.batch_size,
            trust_remote_code=config.trust_remote_code, stage=stage,
        )  # fmt: skip
        stage.update(len(distinct), f"{len(distinct)} texts")
    place = {text: n for n, text in enumerate(distinct)}

    def of(texts: Sequence[str]) -> NDArray[np.float32]:
        return features.feature_ND[[place[text] for text in texts]]

    human_ND = of(whole[0][0])
    values, details = [], []
    with progress.stage("MAUVE", len(arms)) as stage:
        for done, (outputs, draws) in enumerate(zip(arms, whole, strict=True), start=1):
            if outputs.arm.name == "human":
                half = len(human_ND) // 2
                pairs = [(human_ND[:half], human_ND[half : 2 * half])]
            else:
                pairs = [(human_ND, of(texts)) for texts in draws]
            value, detail = _mauve_value(outputs, pairs, config)
            values.append(value)
            details.append(detail)
            stage.update(done)
    settings = MauveSettings(
        features=name,
        position="final hidden state at the last token",
        token_limit=features.token_limit,
        texts_cut=features.num_cut,
        scaling=5.0,
        kmeans_seeds=config.mauve_seeds,
        arms=details,
    )
    return values, settings


def _mauve_value(
    outputs: ArmOutputs,
    pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    config: EvaluateConfig,
) -> tuple[SetValue, MauveArm]:
    found = [
        mauve(
            p_ND, q_ND, seeds=config.mauve_seeds, base_seed=config.seed, resamples=MAUVE_RESAMPLES
        )
        for p_ND, q_ND in pairs
    ]
    first = found[0]
    arm, length = outputs.arm, max(len(g.continuation_ids) for g in outputs.fixed)
    mean = mean_of_draws([each.value for each in found])
    low = high = draws_R = None
    if mean is not None:
        draws_R = np.mean([e.resampled_R for e in found if e.resampled_R is not None], axis=0)
        low, high = share_bounds(mean, draws_R, config.confidence)
    reason = first.reason
    if reason is None and arm.name == "human":
        reason = (
            "one half of the human texts against the other, with other contexts and half the n: "
            "no ceiling for the arms"
        )
    elif reason is None and first.small_sample:
        reason = f"{first.n} texts a side: too high and noisy below 1,000"
    detail = MauveArm(
        arm=arm,
        n=first.n,
        buckets=first.num_buckets,
        dimensions=first.num_dimensions,
        per_seed=[list(each.per_seed) for each in found],
        spread=first.spread,
        small_sample=first.small_sample,
        reason=first.reason,
    )
    return SetValue(arm, "mauve", mean, low, high, first.n, length, reason, draws_R), detail


def share_bounds(
    value: float, draws_R: NDArray[np.float64], confidence: float
) -> tuple[float | None, ...]:
    """Interval of a value in [0, 1] from bootstrap draws that are moved onto it."""
    bounds = percentiles_around(value, draws_R, confidence)
    return tuple(None if bound is None else min(1.0, max(0.0, bound)) for bound in bounds)
