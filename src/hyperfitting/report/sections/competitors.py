"""Variety against quality: which arms compete, by which scorers, and where each stands. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hyperfitting.measure.intervals import Bounded
from hyperfitting.measure.pareto import (
    Standing,
    Values,
    nearness,
    standings,
    told_apart,
    up_to,
)
from hyperfitting.records import HUMAN, ORIGINAL, Arm, Measurement
from hyperfitting.report.load import Study
from hyperfitting.untrusted import printable

VARIETY, COHERENCE, REFERENCE, MAUVE = "ttr", "coherence_original_nats", "coherence_nats", "mauve"
FEWEST = 3  # competitors of a front that is worth a figure

Kind = Literal[
    "original", "tuned", "null", "strength", "checkpoint", "decoder", "sampled", "matched"
]


@dataclass(frozen=True)
class Scorer:
    """Who says how good a text is, and whether that is another model than the original."""

    metric: str
    name: str
    is_outside: bool
    is_nearness: bool  # to the human value; else more is better


@dataclass(frozen=True)
class Front:
    """Every competitor under one scorer; values as they count, of which more is better."""

    scorer: Scorer
    arms: Sequence[Arm]
    variety: Sequence[Bounded]  # TTR, up to that of human text
    quality: Sequence[Bounded]
    standings: Sequence[Standing]
    most: float | None  # TTR of human text, above which no more counts

    @property
    def on_it(self) -> list[Arm]:
        """The arms on the front, from the least to the most varied, then the best of equals."""
        found = [i for i, each in enumerate(self.standings) if each.is_on_front]
        found.sort(key=lambda i: (self.variety[i].value, -self.quality[i].value))
        return [self.arms[i] for i in found]

    def standing(self, arm: Arm) -> Standing | None:
        """Where an arm stands; None where it has no value."""
        return self.standings[self.arms.index(arm)] if arm in self.arms else None

    def values(self, arm: Arm) -> tuple[Bounded, Bounded]:
        """Variety and quality of an arm, as they count."""
        place = self.arms.index(arm)
        return self.variety[place], self.quality[place]

    def beside(self, arm: Arm) -> list[Arm] | None:
        """The arms that the intervals tell from this one neither in variety nor in quality.

        None where an arm lacks an interval: then nothing is known of it.
        """
        low, high = _ends(self.variety, self.quality)
        apart = told_apart(low, high)
        place = self.arms.index(arm)
        if np.isnan(low).any():
            return None
        return [
            other
            for i, other in enumerate(self.arms)
            if i != place and not (apart[i, place] or apart[place, i])
        ]


def kind(arm: Arm) -> Kind:
    """What an arm is in a comparison of all: a way to train, or another way to decode."""
    if arm.matched_to is not None:
        return "matched"
    if arm.is_decoded:
        return "decoder"
    if arm.is_sampled:
        return "sampled"
    if arm.strength is not None:
        return "strength"
    if arm.is_checkpoint:
        return "checkpoint"
    if arm.is_null:
        return "null"
    return "original" if arm == ORIGINAL else "tuned"


def is_original_otherwise(arm: Arm) -> bool:
    """Whether it is the original, untrained, but not decoded greedily."""
    return arm.model == ORIGINAL.model and arm != ORIGINAL


def scorers(study: Study) -> list[Scorer]:
    """The scorers of this study, outside ones first; the original itself, which is none, last."""
    own, settings, found = study.info.model.name, study.info.evaluate, []
    if study.mauve is not None:
        features = study.mauve.features
        name = printable(f"MAUVE with features of {features}")
        found.append(Scorer(MAUVE, name, not _is_same(features, own), is_nearness=False))
    if settings.coherence_model is not None:
        name = printable(f"Coherence under {settings.coherence_model}")
        is_outside = not _is_same(settings.coherence_model, own)
        found.append(Scorer(REFERENCE, name, is_outside, is_nearness=True))
    found.append(Scorer(COHERENCE, "Coherence under the original", False, is_nearness=True))
    return found


def _is_same(name: str, other: str) -> bool:
    """Whether two names are one model: a folder has several, such as a relative path."""
    try:
        return name == other or Path(name).resolve() == Path(other).resolve()
    except (OSError, ValueError, RuntimeError):  # no path: names may come from somebody else
        return False


def fronts(study: Study) -> list[Front]:
    """A front for every scorer by which enough arms were scored."""
    found = [front_of(study, scorer, study.shown) for scorer in scorers(study)]
    return [each for each in found if each is not None]


def without_drawn(study: Study, of: Front) -> Front | None:
    """The front of the arms that draw nothing; None where that is no other or too few are left."""
    left = [arm for arm in of.arms if not study.is_drawn(arm)]
    return front_of(study, of.scorer, left) if len(left) < len(of.arms) else None


def front_of(study: Study, scorer: Scorer, among: Sequence[Arm]) -> Front | None:
    """The front of some arms by one scorer; None with too few that have both values."""
    human = study.cell(HUMAN, scorer.metric)
    target = human.mean if scorer.is_nearness and human is not None else None
    if scorer.is_nearness and target is None:
        return None
    reference = study.cell(HUMAN, VARIETY)
    most = None if reference is None else reference.mean
    arms, variety, quality = [], [], []
    for arm in among:
        ttr = _bounded(study.cell(arm, VARIETY))
        score = _bounded(study.cell(arm, scorer.metric))
        if arm == HUMAN or ttr is None or score is None:
            continue
        arms.append(arm)
        variety.append(up_to(most, ttr))
        quality.append(score if target is None else nearness(target, score))
    if len(arms) < FEWEST:
        return None
    points = np.array([(v.value, q.value) for v, q in zip(variety, quality, strict=True)])
    found = [each for each in standings(points, *_ends(variety, quality)) if each is not None]
    return Front(scorer, arms, variety, quality, found, most)


def _bounded(row: Measurement | None) -> Bounded | None:
    if row is None or row.mean is None:
        return None
    return Bounded(row.mean, row.low, row.high)


def _ends(variety: Sequence[Bounded], quality: Sequence[Bounded]) -> tuple[Values, Values]:
    """Low and high ends, [N, 2]; NaN where there is no interval."""
    pairs = list(zip(variety, quality, strict=True))
    low = [[_or_nan(each.low) for each in pair] for pair in pairs]
    high = [[_or_nan(each.high) for each in pair] for pair in pairs]
    return np.array(low, dtype=float), np.array(high, dtype=float)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
