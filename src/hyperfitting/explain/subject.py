"""What every control is given: a pair of models, the held-out texts, and what was seen of them.

Shape letters: N contexts, K tokens of a continuation, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hyperfitting.compare.intervals import interval_of
from hyperfitting.compare.scores import PairScores
from hyperfitting.config import ExplainConfig
from hyperfitting.data.windows import Contexts
from hyperfitting.generate.choose import Chooser, greedy
from hyperfitting.generate.decode import decode
from hyperfitting.generate.step import Feed
from hyperfitting.measure.gain import Gain, Share, gain, share
from hyperfitting.measure.participation import Numbers
from hyperfitting.measure.ranks import top1_agreement
from hyperfitting.measure.text import loop_period, ngram_repetition, type_token_ratio
from hyperfitting.models.pair import Pair
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress, Stage
from hyperfitting.records import Arm
from hyperfitting.records.controls.variety import Variety
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.record import OfArm

Texts = list[list[int]]
Columns = dict[str, Numbers]  # one value per context, by name
Sought = TypeVar("Sought")


@dataclass(frozen=True)
class Subject:
    """One tuned model beside its original."""

    arm: Arm
    pair: Pair
    contexts: Contexts
    tokens: Tokens  # of the tuned model
    config: ExplainConfig
    progress: Progress
    original_texts: Texts  # greedy continuations
    tuned_texts: Texts
    forced: PairScores  # on human text
    observers: Sequence[Any] = ()  # what controls saw of the pass over human text
    found: list[OfArm] = field(default_factory=list)  # by the controls before, of this model

    def saw(self, kind: type[Sought]) -> Sought:
        """The observer of this kind, after the pass."""
        return next(each for each in self.observers if isinstance(each, kind))

    def of(self, kind: type[Sought]) -> Sought | None:
        """What an earlier control found; None where it did not run."""
        return next((each for each in self.found if isinstance(each, kind)), None)

    @property
    def length(self) -> int:
        """K."""
        return self.contexts.length

    @property
    def vocabulary(self) -> int:
        """Tokens that the tokenizer has and both models know."""
        return self.pair.vocabulary(self.tokens.tokenizer)

    @property
    def human_rows(self) -> Texts:
        """Context and human continuation."""
        return self.contexts.rows()

    def interval(self, values: Sequence[float] | NDArray[np.float64]) -> MeanEstimate:
        """Mean over contexts with its bootstrap interval and n; undefined values are left out."""
        return interval_of(values, self.config)

    def gain(self, one_N: Numbers, two_N: Numbers) -> Gain:
        """Whether two columns of values differ on these contexts, second minus first."""
        config = self.config
        return gain(
            one_N, two_N, resamples=config.resamples, confidence=config.confidence, seed=config.seed
        )

    def share(self, value_N: Numbers, one_N: Numbers, two_N: Numbers, found: Gain) -> Share:
        """The share of the way from the first to the second column, where `found` is their gain."""
        config = self.config
        return share(
            value_N, one_N, two_N, found,
            resamples=config.resamples, confidence=config.confidence, seed=config.seed,
        )  # fmt: skip

    def intervals(self, columns: Columns) -> dict[str, MeanEstimate]:
        """Mean, interval and n of every column, by the names that records have for them."""
        return {name: self.interval(values_N) for name, values_N in columns.items()}


def write_texts(
    model: Any,
    contexts: Sequence[list[int]],
    tokens: Tokens,
    config: ExplainConfig,
    length: int,
    *,
    choose: Chooser = greedy,
    stage: Stage | None = None,
    feed: Feed | None = None,
) -> Texts:
    """Fixed-length continuations; `feed` as `decode` takes it."""
    decoded = decode(
        model,
        contexts,
        choose,
        max_new_tokens=length,
        banned=tokens.banned("fixed_length"),
        batch_size=config.batch_size,
        stage=stage,
        feed=feed,
    )
    return [text.ids for text in decoded]


def variety(texts: Texts) -> Columns:
    """TTR, bigram repetition and whether it loops, of each text."""
    columns = {
        "ttr": [type_token_ratio(ids) for ids in texts],
        "bigram_repetition": [ngram_repetition(ids, 2) for ids in texts],
        "looped": [float(loop_period(ids) is not None) for ids in texts],
    }
    return {name: np.array(values, dtype=float) for name, values in columns.items()}


class References(NamedTuple):
    """What both models write on the contexts, and how often they choose alike on human text."""

    original: Variety
    tuned: Variety
    agreement: MeanEstimate


def references(subject: Subject) -> References:
    """Both models themselves, beside what stands between them."""
    count = len(subject.contexts)
    original_NK, tuned_NK = (
        scores.top1_NK[:count] for scores in (subject.forced.original, subject.forced.tuned)
    )
    original, tuned = (
        Variety(**subject.intervals(variety(texts)))
        for texts in (subject.original_texts, subject.tuned_texts)
    )
    agreement_N = np.asarray(top1_agreement(original_NK, tuned_NK))
    return References(original, tuned, subject.interval(agreement_N))
