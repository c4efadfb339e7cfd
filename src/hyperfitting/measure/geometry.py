"""How the hidden states of two models differ at one layer, on the same tokens.

Definitions, section 6. Shape letters: N contexts, T positions of a context, D width, R draws of
contexts. The caller leaves position 0 out and says which space the states come from.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hyperfitting.measure.intervals import Bounded, percentiles_around
from hyperfitting.measure.participation import (
    Numbers,
    check_states,
    full_sample_ratios,
    participation_ratios,
    precise_dtype,
    to_host,
)


@dataclass(frozen=True)
class LayerGeometry:
    """What `layer_geometry` returns. Undefined is NaN in an array and None elsewhere."""

    cosine_N: Numbers
    l2_N: Numbers
    l2_relative_N: Numbers
    original: Bounded | None
    tuned: Bounded | None
    delta_dim: Bounded | None
    delta_dim_relative: Bounded | None
    delta_dim_R: Numbers
    original_without_largest: float | None
    tuned_without_largest: float | None
    positions: int
    is_few: bool


def layer_geometry(
    original_NTD: Tensor, tuned_NTD: Tensor, *, resamples: int, confidence: float, seed: int
) -> LayerGeometry:
    """Distances and participation ratios of two models' states at one layer.

    Definitions, sections 6.2 to 6.4 (paper, section 5). Means over the positions of a context:
    cosine in [-1, 1]; l2 = |original - tuned| in [0, inf), in the units of the states;
    l2_relative = l2 / |original|. A position with a zero vector has no cosine (nor, if it is the
    original's, l2_relative): it is left out of the mean.

    Participation ratios `original`, `tuned` in dimensions, in [1, min(n - 1, D)], and
    delta_dim = tuned - original, also relative to the original. The intervals use the same draws
    of contexts for both models; a draw without spread in one of them is NaN and left out.
    `..._without_largest`: without that model's 4 coordinates of largest variance, the massive
    activations; no interval. None where the covariance is 0, and no interval for one context.
    A draw holds some contexts twice, so its ratio is biased down like that of a smaller sample,
    the larger ratio more: plain percentiles may leave out the value itself. The draws' mean is
    therefore moved onto the value before the percentiles are taken.
    `delta_dim_R` holds those draws as they are, the same contexts for every call with one seed.
    `positions` is n = N T; `is_few` says n < 10 D, where the ratios are biased down.

    Raises:
        ValueError: different or empty shapes, values that are not finite, or a confidence
            outside (0, 1), or no resamples.
    """
    check_states(original_NTD, tuned_NTD)
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"needs 0 < confidence < 1 and resamples, got {confidence}, {resamples}")
    N, T, D = original_NTD.shape
    cosine_NT, l2_NT, relative_NT = _distances(original_NTD, tuned_NTD)

    rng = np.random.default_rng(seed)
    draws_RN = rng.multinomial(N, np.full(N, 1 / N), size=resamples)
    original, original_trimmed = full_sample_ratios(original_NTD)
    tuned, tuned_trimmed = full_sample_ratios(tuned_NTD)
    original_R = participation_ratios(original_NTD, draws_RN)
    tuned_R = participation_ratios(tuned_NTD, draws_RN)
    delta = None if original is None or tuned is None else tuned - original
    relative = None if original is None or delta is None else delta / original
    delta_R = tuned_R - original_R

    def estimate(value: float | None, values_R: Numbers) -> Bounded | None:
        if value is None:
            return None
        if N < 2:
            return Bounded(value, None, None)
        return Bounded(value, *percentiles_around(value, values_R, confidence))

    return LayerGeometry(
        _means_of_defined(cosine_NT),
        l2_NT.mean(axis=1),
        _means_of_defined(relative_NT),
        estimate(original, original_R),
        estimate(tuned, tuned_R),
        estimate(delta, delta_R),
        estimate(relative, delta_R / original_R),
        delta_R,
        original_trimmed,
        tuned_trimmed,
        positions=N * T,
        is_few=N * T < 10 * D,
    )


def rms_normalise(states_NTD: Tensor) -> Tensor:
    """Each state divided by its own root mean square over D, same shape, float32.

    Definitions, section 6.1 (`rms_normalised`). No epsilon is added; a zero vector has no
    direction and stays zero.
    """
    states_NTD = states_NTD.float()
    rms_NT1 = states_NTD.square().mean(dim=-1, keepdim=True).sqrt()
    return states_NTD / rms_NT1.where(rms_NT1 > 0, torch.ones_like(rms_NT1))


def _distances(original_NTD: Tensor, tuned_NTD: Tensor) -> tuple[Numbers, Numbers, Numbers]:
    """Cosine, l2 and relative l2 of each position, [N, T]; NaN where a zero vector forbids it."""
    kind = precise_dtype(original_NTD)
    rows = []
    for original_TD, tuned_TD in zip(original_NTD, tuned_NTD, strict=True):
        a_TD, b_TD = original_TD.to(kind), tuned_TD.to(kind)
        a_T, b_T = a_TD.norm(dim=-1), b_TD.norm(dim=-1)
        l2_T = (b_TD - a_TD).norm(dim=-1)
        # A zero vector makes this 0 / 0 = NaN, the undefined value.
        cosine_T = (a_TD * b_TD).sum(dim=-1) / a_T / b_T
        rows.append(torch.stack([cosine_T.clamp(-1, 1), l2_T, l2_T / a_T, a_T]))
    cosine, l2, relative, length = to_host(torch.stack(rows, dim=1))
    relative[length == 0] = np.nan
    return cosine, l2, relative


def _means_of_defined(values_NT: Numbers) -> Numbers:
    """Mean over the defined positions of each context, [N]; NaN where there are none."""
    defined = ~np.isnan(values_NT)
    counts_N = defined.sum(axis=1)
    totals_N = np.where(defined, values_NT, 0).sum(axis=1)
    means_N: Numbers = np.divide(
        totals_N, counts_N, out=np.full(len(counts_N), np.nan), where=counts_N > 0
    )
    return means_N
