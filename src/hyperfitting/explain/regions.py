"""What the geometry of all layers amounts to, as found and in words. Layers are 0..L."""

from collections.abc import Sequence
from typing import NamedTuple

from hyperfitting.explain.geometry import Estimate

STABLE_COSINE = 0.86


class Regions(NamedTuple):
    """Layers of each region; empty or None where there is none. Regions may overlap."""

    stable: tuple[int, ...]
    compression: tuple[int, ...]
    terminal: int | None
    l2_jump: float | None


def regions(
    cosine: Sequence[float | None],
    delta_dim: Sequence[float | None],
    l2: Sequence[float | None],
    *,
    bound: float = STABLE_COSINE,
) -> Regions:
    """Stable, compression and terminal layers from one value per layer, 0 to L.

    Definitions, section 6.5 (paper, section 5; the bound comes from reviews of the paper).
    `stable`: the layers from 0 on whose cosine is at least `bound`; `compression`: the later
    layers with delta_dim < 0, connected or not; `terminal`: L if delta_dim > 0 there and l2 is
    larger than at L - 1. `l2_jump` is l2[L] / l2[L - 1], in [0, inf), None if not defined.
    An undefined value (None or NaN) fulfils no condition.

    Raises:
        ValueError: lists of different lengths, or fewer than two layers.
    """
    if not len(cosine) == len(delta_dim) == len(l2) or len(l2) < 2:
        raise ValueError(
            f"one value per layer 0..L needed, got {len(cosine)}, {len(delta_dim)}, {len(l2)}"
        )
    stable = 0
    while stable < len(cosine) and _at_least(cosine[stable], bound):
        stable += 1
    compression = [layer for layer in range(stable, len(cosine)) if _above(0.0, delta_dim[layer])]
    last = len(l2) - 1
    is_terminal = _above(delta_dim[last], 0.0) and _above(l2[last], l2[last - 1])
    after, before = l2[last], l2[last - 1]
    jump = after / before if after is not None and _above(before, 0.0) and before else None
    return Regions(
        tuple(range(stable)),
        tuple(compression),
        last if is_terminal else None,
        None if jump is None or jump != jump else jump,
    )


def regions_in_words(found: Regions, *, bound: float = STABLE_COSINE) -> str:
    """The regions in one line each; a region without layers is said to be absent."""
    terminal = () if found.terminal is None else (found.terminal,)
    return "\n".join(
        [
            f"Stable (cosine at least {bound:g} from layer 0 on): {_layers(found.stable)}.",
            f"Compression (later, delta_dim below 0): {_layers(found.compression)}.",
            f"Terminal (last layer, delta_dim above 0 and l2 rising): {_layers(terminal)}.",
        ]
    )


def terminal_expansion_in_words(
    *,
    block_output: Estimate | None,
    rms_normalised: Estimate | None,
    post_final_norm: Estimate | None,
) -> str:
    """Whether delta_dim of layer L is above 0 in each space, in one or two sentences.

    Definitions, section 6.1: an expansion needs all three spaces, and one that appears after
    the final norm only is called a normalisation artefact. It appears in a space if the whole
    interval lies above 0, and is not shown there if the interval contains 0 or is missing.
    """
    spaces = {
        "block_output": block_output,
        "rms_normalised": rms_normalised,
        "post_final_norm": post_final_norm,
    }
    numbers = "; ".join(f"{name} {_finding(value)}" for name, value in spaces.items())
    shown = [name for name, value in spaces.items() if value and _above(value.low, 0.0)]
    if len(shown) == len(spaces):
        verdict = "The terminal expansion survives in all three spaces"
    elif shown == ["post_final_norm"]:
        verdict = "The terminal expansion appears in post_final_norm only: a normalisation artefact"
    elif shown:
        missing = " and ".join(name for name in spaces if name not in shown)
        verdict = (
            f"The terminal expansion appears in {' and '.join(shown)} but not in {missing}, "
            "so it is not shown"
        )
    else:
        verdict = "A terminal expansion is not shown in any space"
    return f"{verdict}. Change in dimensions at the last layer: {numbers}."


def _finding(estimate: Estimate | None) -> str:
    if estimate is None:
        return "undefined"
    value, low, high = estimate
    if low is None or high is None:
        return f"{value:+.1f} (no interval, not shown)"
    word = "expansion" if low > 0 else "contraction" if high < 0 else "not shown"
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}] ({word})"


def _layers(layers: Sequence[int]) -> str:
    """Layers as ranges: 0-3, 5, 7-8."""
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


def _above(value: float | None, other: float | None) -> bool:
    return value is not None and other is not None and value > other


def _at_least(value: float | None, bound: float) -> bool:
    return value is not None and value >= bound
