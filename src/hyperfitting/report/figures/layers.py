"""Where it happens: hidden states layer by layer, and models put together from both."""

from itertools import accumulate

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hyperfitting.records.controls.block_swap import ORIGINAL_UPPER, TUNED_UPPER, BlockSwap
from hyperfitting.records.controls.geometry import (
    BLOCK_OUTPUT,
    FINAL_NORM,
    RMS_NORMALISED,
    Geometry,
)
from hyperfitting.report.figures.style import (
    COLOURS,
    INK,
    STYLE,
    Look,
    draw_estimates,
    handle,
    look,
)
from hyperfitting.report.load import Study
from hyperfitting.report.sections.place import HYBRIDS

COLUMNS = 3  # panels of block swap side by side


def geometry(study: Study) -> Figure | None:
    """Cosine, distance and change in dimensions of every layer (paper, Figures 5 to 7).

    Layer 0 is the embedding. None without data.
    """
    found = study.explained.of(Geometry)
    if not found:
        return None
    arms = [each.arm for each in found]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 8.6), layout="constrained")
        panels = list(figure.subplots(3, 2).flat)
        cosine, absolute, distance, plain, summed, normalised = panels
        handles = {}
        for each in found:
            of = look(each.arm, arms)
            _layers(cosine, each, BLOCK_OUTPUT, "cosine", of)
            _layers(absolute, each, BLOCK_OUTPUT, "l2", of)
            _layers(distance, each, BLOCK_OUTPUT, "l2_relative", of)
            _layers(plain, each, BLOCK_OUTPUT, "delta_dim", of)
            summed.plot(*dimensions_summed(each), color=of.colour, marker=of.marker, markersize=4,
                        linestyle=of.line)  # fmt: skip
            _layers(normalised, each, RMS_NORMALISED, "delta_dim", of)
            _after_norm(normalised, each, of)
            handles[study.label(each.arm.variant)] = handle(of)
        cosine.set(title="Cosine, original and tuned", ylim=(None, 1.02))
        absolute.set(title="L2 distance", ylim=(0, None))
        distance.set(title="L2 distance / length in the original", ylim=(0, None))
        plain.set(title="Change in dimensions: block output")
        normalised.set(title="Change in dimensions: RMS-normalised")
        summed.set(title="The same, summed from layer 0")
        for axes in (plain, summed, normalised):
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.set(ylabel="participation ratio, tuned - original")
        last = max(layer.layer for each in found for layer in each.layers)
        for axes in panels:
            axes.set(xlabel="layer", xlim=(-0.4, last + 0.4))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _name_norm(normalised, last)
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    return figure


def dimensions_summed(found: Geometry) -> tuple[list[int], list[float]]:
    """Layers of known change, and the sum of the changes up to each (paper, Figure 5, panel B).

    At the block outputs.
    """
    known = [
        (row.layer, value)
        for row in found.tap(BLOCK_OUTPUT)
        if (value := row.estimates["delta_dim"].value) is not None
    ]
    return [layer for layer, _ in known], list(accumulate(value for _, value in known))


def _layers(axes: Axes, found: Geometry, space: str, name: str, of: Look) -> None:
    layers = found.tap(space)
    draw_estimates(axes, [row.layer for row in layers], [row.estimates[name] for row in layers], of)


def _after_norm(axes: Axes, found: Geometry, of: Look) -> None:
    """What is left of it after the final norm: one hollow point to the right of the last layer."""
    for row in found.tap(FINAL_NORM):
        value = row.estimates["delta_dim"]
        if value.value is None:
            continue
        place = row.layer + 1
        if value.low is not None and value.high is not None:
            axes.plot([place, place], [value.low, value.high], color=of.colour, linewidth=1.2)
        axes.plot([place], [value.value], color=of.colour, marker=of.marker, markerfacecolor="none")


def _name_norm(axes: Axes, last: int) -> None:
    axes.set_xlim(-0.4, last + 1.4)
    step = max(1, round(last / 8))
    layers = [*range(0, last - step // 2, step), last]
    axes.set_xticks([*layers, last + 1], [*map(str, layers), "norm"])


def block_swap(study: Study) -> Figure | None:
    """TTR of every hybrid against the number of last blocks, a panel per tuned arm."""
    found = study.explained.of(BlockSwap)
    if not found:
        return None
    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.4 * rows + 0.4), layout="constrained")
        panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
        for axes, each in zip(panels, found, strict=False):
            _swap_panel(axes, each)
            axes.set_title(study.label(each.arm))
        for axes in panels[len(found) :]:
            axes.set_axis_off()
        for axes in panels[::columns]:
            axes.set_ylabel("type-token ratio, greedy")
        handles = {
            HYBRIDS[TUNED_UPPER]: handle(Look(INK, "o", "-", False)),
            HYBRIDS[ORIGINAL_UPPER]: handle(Look(COLOURS["original"], "s", "--", False)),
            "each model itself": handle(Look(INK, "", ":", False)),
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure


def _swap_panel(axes: Axes, found: BlockSwap) -> None:
    tuned = look(found.arm)
    looks = {
        TUNED_UPPER: Look(tuned.colour, "o", "-", False),
        ORIGINAL_UPPER: Look(COLOURS["original"], "s", "--", False),
    }
    for upper, of in looks.items():
        rows = sorted((row for row in found.rows if row.hybrid == upper), key=lambda r: r.blocks)
        draw_estimates(axes, [row.blocks for row in rows], [row.ttr for row in rows], of)
    both = found.references
    for reference, colour in ((both.original, COLOURS["original"]), (both.tuned, tuned.colour)):
        if reference.ttr.value is not None:
            axes.axhline(reference.ttr.value, color=colour, linestyle=":", linewidth=1)
    axes.set(xlabel=f"last blocks taken over, of {found.num_blocks}", ylim=(0, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
