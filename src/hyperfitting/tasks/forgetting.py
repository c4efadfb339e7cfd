"""From what the harness found of each model to scores, and what tuning changed of them. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperfitting.config import EvaluateConfig
from hyperfitting.measure.intervals import bootstrap_mean
from hyperfitting.records import Arm
from hyperfitting.records.estimates import MeanEstimate, undefined_mean
from hyperfitting.records.tasks import AskedQuestion, KeptScore, TaskScore

NO_MEAN, ONE = "not a finite mean over questions", "one question has no spread"
OTHER_QUESTIONS = "the original has this metric of other questions"
Found = Mapping[str, Any]  # what the harness returns for one model


def scores_of(arm: Arm, found: Found) -> list[KeptScore]:
    """Every metric of every task and group, without a difference."""
    return [
        _scored(arm, task, key, float(result), found)
        for task, results in found["results"].items()
        for key, result in results.items()
        if "," in key and not key.partition(",")[0].endswith("_stderr")
    ]


def _scored(arm: Arm, task: str, key: str, result: float, found: Found) -> KeptScore:
    metric, _, kind = key.partition(",")
    used = [
        sample for sample in _samples(task, found) if sample["filter"] == kind and metric in sample
    ]
    value_N = _values([sample[metric] for sample in used], result)
    stderr = None if value_N is None or len(used) < 2 else float(stats.sem(value_N))
    row = TaskScore(
        arm=arm,
        task=task,
        metric=metric,
        filter=kind,
        higher_is_better=found["higher_is_better"].get(task, {}).get(metric),
        value=result if math.isfinite(result) else None,
        stderr=stderr,
        n=len(used),
        reason=NO_MEAN if value_N is None else ONE if stderr is None else None,
        difference=None,
    )
    asked = [
        AskedQuestion(number=each["doc_id"], question=each["doc_hash"], prompt=each["prompt_hash"])
        for each in used
    ]
    values = None if value_N is None else value_N.tolist()
    return KeptScore(row=row, values=values, questions=asked)


def _samples(name: str, found: Found) -> list[Any]:
    """The answers of a task, or of all tasks of a group."""
    parts = found["group_subtasks"].get(name)
    if parts is None:
        return list(found["samples"][name])
    return [sample for part in parts for sample in _samples(part, found)]


def _values(of_questions: Sequence[Any], score: float) -> NDArray[np.float64] | None:
    """The questions' values; None where the score is not their mean."""
    if not all(isinstance(value, (bool, int, float, np.number)) for value in of_questions):
        return None
    value_N = np.array(of_questions, dtype=float)
    return value_N if math.isclose(value_N.mean(), score, abs_tol=1e-12) else None


def changed_scores(
    tuned: Sequence[KeptScore], original: Sequence[KeptScore], config: EvaluateConfig
) -> list[TaskScore]:
    """The scores of a tuned model, each with its difference to the original's."""
    before = {_metric(scored): scored for scored in original}
    return [
        scored.row.model_copy(
            update={"difference": difference(scored, before.get(_metric(scored)), config)}
        )
        for scored in tuned
    ]


def _metric(scored: KeptScore) -> tuple[str, str, str]:
    """Task or group, metric, and filter of the answers."""
    return scored.row.task, scored.row.metric, scored.row.filter


def difference(
    tuned: KeptScore, original: KeptScore | None, config: EvaluateConfig
) -> MeanEstimate:
    """Tuned - original over the same questions, with its interval."""
    if original is None or original.questions != tuned.questions:
        return undefined_mean(OTHER_QUESTIONS)
    if original.values is None or tuned.values is None:
        return undefined_mean(NO_MEAN)
    found = bootstrap_mean(
        np.subtract(tuned.values, original.values),
        resamples=config.resamples, confidence=config.confidence, seed=config.seed,
    )  # fmt: skip
    return MeanEstimate(
        value=found.mean, low=found.low, high=found.high, n=len(tuned.questions),
        reason=ONE if found.low is None else None,
    )  # fmt: skip
