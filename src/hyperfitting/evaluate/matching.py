"""The original model made as sharp as a tuned one by temperature alone (definitions, section 4).

Shape letters: N rows, K scored positions of a row, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from hyperfitting.compare.scores import PairScores, correlate, empty_scores, without
from hyperfitting.measure.entropy import prediction_entropy_nats
from hyperfitting.measure.likelihood import token_nll_nats
from hyperfitting.measure.ranks import top_token
from hyperfitting.measure.temperature import (
    TOLERANCE_NATS,
    EntropyCurve,
    Match,
    entropy_at,
    match_temperature,
    match_temperature_per_position,
)
from hyperfitting.models.forward import TokenScores
from hyperfitting.models.pair import PairedLogits
from hyperfitting.records.arrays import Floats
from hyperfitting.records.matching import Matched, OneForAll, OneTemperature, Spread

SLOPE_STEP = 0.01  # of the temperature, over which the slope of its entropy is taken
CURVE_REACH = 2.0  # the global temperature is sought within this factor of the first context's


@dataclass
class Tempered:
    """The original against itself at one temperature a row, and whether greedy notices.

    A positive temperature cannot reverse two logits; it can merge two that are close into a tie,
    which greedy decoding never sees because it takes the argmax before dividing (definitions,
    section 1.3); so do the choices here. `merged` counts such positions. `differences` counts
    real changes of the choice and must stay 0.
    """

    num_rows: int
    num_scored: int
    vocabulary: int
    banned: Sequence[int] = ()
    merged: int = 0
    differences: int = 0
    scores: PairScores = field(init=False)

    def __post_init__(self) -> None:
        self.scores = empty_scores(self.num_rows, self.num_scored)

    def add(self, found: PairedLogits, tau: float, original: TokenScores) -> None:
        """Score one row at its temperature; `original` has its scores at temperature 1."""
        row, tempered_KV = found.row, found.original_KV / tau
        for ours_NK, known_NK in zip(self.scores.original, original, strict=True):
            ours_NK[row] = known_NK[row]
        tuned = self.scores.tuned
        tuned.nll_NK[row] = token_nll_nats(tempered_KV, found.target_K).cpu().numpy()
        tuned.entropy_NK[row] = prediction_entropy_nats(tempered_KV).cpu().numpy()
        both = found._replace(tuned_KV=tempered_KV)
        # No temperature changes a rank: a few positions show it.
        correlate(self.scores, both, self.vocabulary, every=8)
        before_K, after_K = (
            top_token(without(logits_KV, self.banned))[:, None]
            for logits_KV in (found.original_KV, tempered_KV)
        )
        moved_K = (before_K != after_K)[:, 0]
        is_tie_K = (tempered_KV.gather(1, before_K) == tempered_KV.gather(1, after_K))[:, 0]
        self.merged += int((moved_K & is_tie_K).sum())
        self.differences += int((moved_K & ~is_tie_K).sum())
        tuned.top1_NK[row] = original.top1_NK[row]
        self.scores.chosen_rank_NK[row] = 1


@dataclass(frozen=True)
class AtEqualEntropy:
    """The original as sharp as one tuned model on human text: how, and what it says then."""

    found: Matched
    tau_N: list[float]  # of each context
    forced: PairScores  # the original beside itself at these, on human text
    differences: int  # greedy choices that a temperature changed: none
    vocabulary: int  # tokens that correlations are over


@dataclass
class EntropyMatching:
    """Finds, on teacher-forced rows, the temperatures of equal entropy: per context, step, and one.

    `tempered` scores the original at each context's temperature.
    """

    num_rows: int
    num_scored: int
    vocabulary: int
    tempered: Tempered = field(init=False)
    per_context: list[Match] = field(init=False)
    tau_per_step_NK: Floats = field(init=False)
    unsolved_steps: int = 0
    residual_of_steps: float | None = None
    curve: EntropyCurve | None = None  # around the first context's temperature
    near: float = 1.0  # the last context's temperature, where the next one's is sought first
    target_N: Floats = field(init=False)
    step_residual_N: Floats = field(init=False)  # mean absolute, at the context's temperature
    slack_N: Floats = field(init=False)  # by how much the tolerance may move that temperature

    def __post_init__(self) -> None:
        self.tempered = Tempered(self.num_rows, self.num_scored, self.vocabulary)
        self.per_context = [Match(float("nan"), float("nan"), False)] * self.num_rows
        self.tau_per_step_NK = np.full((self.num_rows, self.num_scored), np.nan)
        self.target_N = np.full(self.num_rows, np.nan)
        self.step_residual_N = np.full(self.num_rows, np.nan)
        self.slack_N = np.full(self.num_rows, np.nan)

    def __call__(self, found: PairedLogits, scores: PairScores) -> None:
        """Match one context."""
        row, original_KV = found.row, found.original_KV
        entropy_K = scores.tuned.entropy_NK[row]
        self.target_N[row] = entropy_K.mean()
        match = match_temperature(original_KV, float(self.target_N[row]), start=self.near)
        self.per_context[row] = match
        self.near = match.tau if match.is_solved else 1.0
        steps = match_temperature_per_position(original_KV, entropy_K, start=self.near)
        self.tau_per_step_NK[row] = steps.tau
        self.unsolved_steps += int((~steps.is_solved).sum())
        if steps.is_solved.any():
            largest = float(np.abs(steps.residual[steps.is_solved]).max())
            self.residual_of_steps = max(self.residual_of_steps or 0.0, largest)
        if self.curve is None:
            low, high = match.tau / CURVE_REACH, match.tau * CURVE_REACH
            self.curve = EntropyCurve(low=low, high=high)
        self.curve.add(original_KV)
        self.tempered.add(found, match.tau, scores.original)
        left_K = self.tempered.scores.tuned.entropy_NK[row] - entropy_K
        self.step_residual_N[row] = np.abs(left_K).mean()
        self.slack_N[row] = _slack(original_KV, match, float(self.target_N[row]))

    @property
    def temperatures(self) -> list[float]:
        """The temperature of each context."""
        return [match.tau for match in self.per_context]

    def result(self) -> AtEqualEntropy:
        """What was found once every context was seen."""
        tempered = self.tempered
        return AtEqualEntropy(
            found=self.summary(),
            tau_N=self.temperatures,
            forced=tempered.scores,
            differences=tempered.differences,
            vocabulary=self.vocabulary,
        )

    def summary(self) -> Matched:
        """Temperatures and residuals of the three ways to match."""
        assert self.curve is not None, "at least one context was matched"
        one = self.curve.solve(float(self.target_N.mean()))
        solved = [abs(match.residual) for match in self.per_context if match.is_solved]
        return Matched(
            per_context=_spread(
                np.array(self.temperatures),
                unsolved=self.num_rows - len(solved),
                residual=max(solved, default=None),
            ),
            per_step=_spread(
                self.tau_per_step_NK.ravel(),
                unsolved=self.unsolved_steps,
                residual=self.residual_of_steps,
            ),
            one_for_all=OneForAll(
                tau=one.tau, residual_nats=one.residual, unsolved=int(not one.is_solved)
            ),
            one_temperature=self._one_temperature(),
        )

    def _one_temperature(self) -> OneTemperature:
        """Whether one temperature a context serves at each of its steps, in nats.

        Entropy never falls as a temperature rises. So were the tuned model the original at one
        temperature, what is left at the steps would have one sign, and its mean size would be what
        is left of the context's mean: `expected`, which the solver keeps within its tolerance. The
        contexts' temperatures would be one up to that tolerance: `spread_beyond_tolerance` is the
        gap between the largest and the smallest that it does not explain.
        """
        expected_N = np.abs([match.residual for match in self.per_context])
        tau_N = np.array(self.temperatures)
        gap = float((tau_N - self.slack_N).max() - (tau_N + self.slack_N).min())
        return OneTemperature(
            spread_beyond_tolerance=max(0.0, gap),
            step_residual_nats=float(self.step_residual_N.mean()),
            largest_nats=float(self.step_residual_N.max()),
            expected_nats=float(expected_N.max()),
        )


def _slack(logits_KV: Tensor, match: Match, target: float) -> float:
    """How far the temperature moves with the mean entropy's tolerance; infinite where H is flat."""
    step = SLOPE_STEP * match.tau
    rise = float(entropy_at(logits_KV, match.tau + step).mean()) - (target + match.residual)
    return TOLERANCE_NATS * step / rise if rise > 0 else float("inf")


def _spread(tau: Floats, *, unsolved: int, residual: float | None) -> Spread:
    low, median, high = (float(q) for q in np.quantile(tau, [0.05, 0.5, 0.95]))
    return Spread(
        mean=float(tau.mean()),
        median=median,
        p5=low,
        p95=high,
        n=int(tau.size),
        unsolved=unsolved,
        largest_residual_nats=residual,
    )
