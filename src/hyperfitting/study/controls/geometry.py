"""Hidden states of both models, layer by layer, at three taps (definitions, section 6)."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hyperfitting.config import ExplainConfig
from hyperfitting.explain.geometry import Estimate, layer_geometry, rms_normalise
from hyperfitting.explain.participation import Numbers, full_sample_ratios
from hyperfitting.explain.regions import (
    regions,
    regions_in_words,
    terminal_expansion_in_words,
)
from hyperfitting.models.pair import LayerStates
from hyperfitting.study.controls.subject import interval_of

BLOCK_OUTPUT, RMS_NORMALISED, FINAL_NORM = "block_output", "rms_normalised", "post_final_norm"


@dataclass
class GeometryObserver:
    """Sees each layer once as both models pass it, and keeps numbers only."""

    config: ExplainConfig
    only_layer: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    draws: list[Numbers] = field(default_factory=list)  # of each row's delta_dim

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
            original_NTD[:, 1:],  # the first token is left out (definitions, section 6)
            tuned_NTD[:, 1:],
            resamples=config.resamples,
            confidence=config.confidence,
            seed=config.seed,
        )
        before, _ = full_sample_ratios(original_NTD)
        after, _ = full_sample_ratios(tuned_NTD)
        self.draws.append(found.delta_dim_R)
        trimmed = (found.original_without_largest, found.tuned_without_largest)
        self.rows.append(
            {
                "layer": layer,
                "space": space,
                "cosine": interval_of(found.cosine_N, config),
                "l2": interval_of(found.l2_N, config),
                "l2_relative": interval_of(found.l2_relative_N, config),
                "pr_original": _estimate(found.original),
                "pr_tuned": _estimate(found.tuned),
                "delta_dim": _estimate(found.delta_dim),
                "delta_dim_relative": _estimate(found.delta_dim_relative),
                "delta_dim_with_first_token": _difference(after, before),
                "delta_dim_without_4_largest": _difference(trimmed[1], trimmed[0]),
                "positions": found.positions,
                "fewer_than_10_per_dimension": found.is_few,
            }
        )

    def result(self) -> dict[str, Any]:
        """Rows of all layers, regions, and what they say in words."""
        layers = [row for row in self.rows if row["space"] == BLOCK_OUTPUT]
        found = regions(
            [row["cosine"]["mean"] for row in layers],
            [row["delta_dim"] and row["delta_dim"]["value"] for row in layers],
            [row["l2"]["mean"] for row in layers],
        )
        last = {row["space"]: row for row in self.rows if row["layer"] == len(layers) - 1}
        taps = {space: _to_estimate(last[space]["delta_dim"]) for space in last}
        return {
            "layers": self.rows,
            "regions": found._asdict(),
            "regions_in_words": regions_in_words(found),
            "terminal_expansion_in_words": terminal_expansion_in_words(**taps),
        }


def _estimate(found: Estimate | None) -> dict[str, float | None] | None:
    return None if found is None else found._asdict()


def _to_estimate(content: dict[str, Any] | None) -> Estimate | None:
    return None if content is None else Estimate(**content)


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before
