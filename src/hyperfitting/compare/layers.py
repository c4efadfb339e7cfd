"""Hidden states of both models, layer by layer, at three taps (definitions, section 6)."""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from hyperfitting.compare.intervals import interval_of
from hyperfitting.config import ExplainConfig
from hyperfitting.measure.expansion import (
    LastLayer,
    has_terminal_expansion,
    terminal_expansion_in_words,
)
from hyperfitting.measure.gain import Share, fewest_contexts, ratio_interval
from hyperfitting.measure.geometry import layer_geometry, rms_normalise
from hyperfitting.measure.intervals import Bounded
from hyperfitting.measure.participation import Numbers, full_sample_ratios
from hyperfitting.measure.regions import Regions, regions, regions_in_words
from hyperfitting.measure.trend import Trend, trend
from hyperfitting.models.pair import LayerStates
from hyperfitting.records import Arm
from hyperfitting.records.controls.geometry import (
    BLOCK_OUTPUT,
    FINAL_NORM,
    RMS_NORMALISED,
    Geometry,
    LastStep,
    Layer,
    LayerRegions,
)
from hyperfitting.records.estimates import BareEstimate


@dataclass
class GeometryObserver:
    """Sees each layer once as both models pass it, and keeps numbers only."""

    config: ExplainConfig
    only_layer: int | None = None
    rows: list[Layer] = field(default_factory=list)
    draws: list[Numbers] = field(default_factory=list)  # of each row's delta_dim
    l2: list[Numbers] = field(default_factory=list)  # of each row, per context

    def __call__(self, states: LayerStates) -> None:
        """Measure one layer at the taps it has."""
        if self.only_layer not in (None, states.layer):
            return
        both = (states.original_NTD, states.tuned_NTD)
        if states.is_normed:
            self._tap(states.layer, FINAL_NORM, *both)
            return
        self._tap(states.layer, BLOCK_OUTPUT, *both)
        self._tap(states.layer, RMS_NORMALISED, *(rms_normalise(state) for state in both))

    def _tap(self, layer: int, space: str, original_NTD: Tensor, tuned_NTD: Tensor) -> None:
        config = self.config
        found = layer_geometry(
            # The first token is left out (definitions, section 6).
            original_NTD[:, 1:], tuned_NTD[:, 1:],
            resamples=config.resamples, confidence=config.confidence, seed=config.seed,
        )  # fmt: skip
        before, _ = full_sample_ratios(original_NTD)
        after, _ = full_sample_ratios(tuned_NTD)
        self.draws.append(found.delta_dim_R)
        self.l2.append(found.l2_N)
        trimmed = (found.original_without_largest, found.tuned_without_largest)
        self.rows.append(
            Layer(
                layer=layer,
                space=space,
                cosine=interval_of(found.cosine_N, config),
                l2=interval_of(found.l2_N, config),
                l2_relative=interval_of(found.l2_relative_N, config),
                pr_original=_bare(found.original),
                pr_tuned=_bare(found.tuned),
                delta_dim=_bare(found.delta_dim),
                delta_dim_relative=_bare(found.delta_dim_relative),
                delta_dim_with_first_token=_difference(after, before),
                delta_dim_without_4_largest=_difference(trimmed[1], trimmed[0]),
                positions=found.positions,
                fewer_than_10_per_dimension=found.is_few,
            )
        )

    def result(self, arm: Arm) -> Geometry:
        """Rows of all layers, regions, the last step beside the others, and all in words."""
        places = [n for n, row in enumerate(self.rows) if row.space == BLOCK_OUTPUT]
        layers, l2 = [self.rows[n] for n in places], [self.l2[n] for n in places]
        first = next((layer for layer, l2_N in enumerate(l2) if l2_N.any()), None)
        growth = {space: self._growth(space, first) for space in (BLOCK_OUTPUT, RMS_NORMALISED)}
        jump = self._jump(l2)
        found = regions(
            [self._sure(row.cosine) for row in layers],
            [self._sure(row.delta_dim) for row in layers],
            self._sure(interval_of(l2[-1] - l2[-2], self.config)),
            growth[BLOCK_OUTPUT],
            first_different=first,
        )
        last = self._last_layer(len(layers) - 1, growth)
        return Geometry(
            arm=arm,
            layers=self.rows,
            first_different_layer=first,
            regions=_regions(found, jump),
            last_step={space: _last_step(each) for space, each in growth.items()},
            regions_in_words=regions_in_words(
                found, jump, num_blocks=len(layers) - 1, is_sure=self._is_sure
            ),
            has_terminal_expansion=has_terminal_expansion(last),
            terminal_expansion_in_words=terminal_expansion_in_words(last),
        )

    def _last_layer(self, last: int, growth: dict[str, Trend]) -> LastLayer:
        taps = {row.space: self._sure(row.delta_dim) for row in self.rows if row.layer == last}
        return LastLayer(
            taps[BLOCK_OUTPUT], taps[RMS_NORMALISED], taps[FINAL_NORM],
            growth[BLOCK_OUTPUT], growth[RMS_NORMALISED],
        )  # fmt: skip

    @property
    def _is_sure(self) -> bool:
        """Whether there are enough contexts to rely on an interval."""
        return len(self.l2[0]) >= fewest_contexts(self.config.confidence)

    def _sure(self, found: BareEstimate | None) -> Bounded | None:
        """An estimate to conclude from: of a few contexts without its interval."""
        if found is None or found.value is None:
            return None
        ends = (found.low, found.high) if self._is_sure else (None, None)
        return Bounded(found.value, *ends)

    def _growth(self, space: str, first: int | None) -> Trend:
        places = [n for n, row in enumerate(self.rows) if row.space == space]
        deltas = (self.rows[n].delta_dim for n in places)
        return trend(
            [None if delta is None else delta.value for delta in deltas],
            [self.draws[n] for n in places],
            first_different=first,
            contexts=len(self.l2[0]),
            confidence=self.config.confidence,
        )

    def _jump(self, l2: list[Numbers]) -> Share:
        """l2 of the last layer over that of the layer before, with its interval."""
        after_N, before_N = l2[-1], l2[-2]
        if not before_N.any():
            return Share(None, None, None, "both models are equal before the last layer")
        config = self.config
        low, high = ratio_interval(
            after_N, before_N, resamples=config.resamples, confidence=config.confidence,
            seed=config.seed,
        )  # fmt: skip
        reason = "one context has no interval" if low is None else None
        # A ratio of the rows' own means, as they stand beside it.
        return Share(float(np.mean(after_N)) / float(np.mean(before_N)), low, high, reason)


def _regions(found: Regions, l2_jump: Share) -> LayerRegions:
    identical, stable, compression, terminal = found
    return LayerRegions(
        identical=list(identical),
        stable=list(stable),
        compression=list(compression),
        terminal=terminal,
        l2_jump=l2_jump.value, l2_jump_low=l2_jump.low, l2_jump_high=l2_jump.high,
        l2_jump_reason=l2_jump.reason,
    )  # fmt: skip


def _last_step(found: Trend) -> LastStep:
    """The last step beside the mean of the others, with every step."""
    steps = (BareEstimate(**step._asdict()) for step in found.steps)
    return LastStep(
        first_step_to_layer=found.first,
        steps=list(steps),
        minus_mean_of_others=_bare(found.last_minus_others),
        reason=found.reason,
    )


def _bare(found: Bounded | None) -> BareEstimate | None:
    return None if found is None else BareEstimate(**found._asdict())


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before
