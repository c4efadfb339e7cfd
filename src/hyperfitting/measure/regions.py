"""What the geometry of all layers amounts to, as found and in words. Layers are 0..L.

Everything is claimed from intervals: a layer whose interval holds the bound is in no region.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hyperfitting.measure.gain import Share
from hyperfitting.measure.intervals import Bounded
from hyperfitting.measure.trend import ONLY_LAST, Trend

STABLE_COSINE = 0.86


class Regions(NamedTuple):
    """Layers of each region; empty or None where there is none. Regions may overlap."""

    identical: tuple[int, ...]
    stable: tuple[int, ...]
    compression: tuple[int, ...]
    terminal: int | None


def regions(
    cosine: Sequence[Bounded | None],
    delta_dim: Sequence[Bounded | None],
    l2_rise: Bounded | None,
    growth: Trend,
    *,
    first_different: int | None,
    bound: float = STABLE_COSINE,
) -> Regions:
    """Identical, stable, compression and terminal layers, from the intervals of every layer.

    Definitions, section 6.5 (paper, section 5; the bound comes from reviews of the paper).
    `identical`: the layers from 0 on at which both models have the same states;
    `stable`: the layers from 0 on whose cosine is at least `bound`; `compression`: the later
    layers with delta_dim < 0, connected or not; `terminal`: L if delta_dim > 0 there, l2 is
    larger than at L - 1 (`l2_rise`, the difference, above 0), and its step stands out from the
    `growth` of the others or no layer but L differs at all.
    An undefined value, and one without an interval, fulfils no condition.

    Raises:
        ValueError: lists of different lengths, or fewer than two layers.
    """
    if len(cosine) != len(delta_dim) or len(cosine) < 2:
        raise ValueError(f"one value per layer 0..L needed, got {len(cosine)}, {len(delta_dim)}")
    last = len(cosine) - 1
    stable = 0
    while stable < len(cosine) and _at_least(cosine[stable], bound):
        stable += 1
    compression = [layer for layer in range(stable, last + 1) if is_below(delta_dim[layer], 0.0)]
    stands_out = is_above(growth.last_minus_others, 0.0) or growth.reason == ONLY_LAST
    is_terminal = is_above(delta_dim[last], 0.0) and is_above(l2_rise, 0.0) and stands_out
    return Regions(
        tuple(range(last + 1 if first_different is None else first_different)),
        tuple(range(stable)),
        tuple(compression),
        last if is_terminal else None,
    )


def regions_in_words(
    found: Regions, l2_jump: Share, *, num_blocks: int, is_sure: bool, bound: float = STABLE_COSINE
) -> str:
    """The regions in one line each; a region without layers is said to be absent.

    `is_sure` is false for fewer contexts than an interval can be relied on.
    """
    terminal = () if found.terminal is None else (found.terminal,)
    same = len(found.identical)
    place = ""
    if same > num_blocks:
        place = "; what differs stands above the blocks, if anything does"
    elif same:
        place = f"; identical below block {same} of {num_blocks}"
    lines = [f"Identical (the same states in both models): {in_ranges(found.identical)}{place}."]
    if not is_sure:
        lines.append("So few contexts have no interval to rely on: no other region is shown.")
        return "\n".join(lines)
    lines += [
        f"Stable (cosine at least {bound:g} from layer 0 on): {in_ranges(found.stable)}.",
        f"Compression (later, delta_dim below 0): {in_ranges(found.compression)}.",
        "Terminal (last layer: delta_dim above 0, l2 rising, a larger step than the others): "
        f"{in_ranges(terminal)}.",
    ]
    if l2_jump.value is not None and l2_jump.low is not None and l2_jump.high is not None:
        ends = f"{l2_jump.value:.2f} [{l2_jump.low:.2f}, {l2_jump.high:.2f}]"
        lines.append(f"L2 distance at the last layer: {ends} times that at the layer before.")
    return "\n".join(lines)


def in_ranges(layers: Sequence[int]) -> str:
    """Layers as ranges: layers 0-3, 5, 7-8."""
    if not layers:
        return "none"
    ranges: list[tuple[int, int]] = []
    for layer in layers:
        if ranges and layer == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], layer)
        else:
            ranges.append((layer, layer))
    named = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
    return f"{'layer' if len(layers) == 1 else 'layers'} {named}"


def is_above(value: Bounded | None, bound: float) -> bool:
    """Whether the whole interval lies above the bound; without an interval it does not."""
    return value is not None and value.low is not None and value.low > bound


def is_below(value: Bounded | None, bound: float) -> bool:
    """Whether the whole interval lies below the bound; without an interval it does not."""
    return value is not None and value.high is not None and value.high < bound


def _at_least(value: Bounded | None, bound: float) -> bool:
    return value is not None and value.low is not None and value.low >= bound
