"""Where the words come from: ranks in the original model (paper, Figure 4)."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from hyperfitting.records.controls.provenance import Provenance, Ranks
from hyperfitting.report.figures.style import COLOURS, INK, STYLE, Look, handle, look
from hyperfitting.report.load import Study
from hyperfitting.report.sections.ranks import RANK_LABELS
from hyperfitting.report.tables import number

# From the common to the rare: one hue, light to dark, and a light that serves both grounds.
SHADES = ("#c6dbef", "#8cbbe0", "#3d8bc4", "#1f5f99")
SMOOTHED = 8  # positions in one point of the last panel


def provenance(study: Study) -> Figure | None:
    """Histogram of ranks, shares of rank classes, and both by position; None without data."""
    found = study.explained.of(Provenance)
    if not found:
        return None
    arms = [each.arm for each in found]
    shown = [("human", Look(COLOURS["human"], "", "-", False), found[0].human)]
    shown += [(study.label(each.arm), look(each.arm, arms), each.written) for each in found]
    with matplotlib.rc_context(STYLE):
        height = 5.2 + 0.25 * max(0, len(shown) - 4)
        figure = Figure(figsize=(10, height), layout="constrained")
        panels = figure.subplot_mosaic(
            [["histogram", "shares"], ["histogram", "position"]], width_ratios=[1, 1]
        )
        _histogram(panels["histogram"], shown)
        _shares(panels["shares"], shown)
        _by_position(panels["position"], shown)
        once = {
            study.label(arm.variant): handle(look(arm, arms)._replace(marker="")) for arm in arms
        }
        handles = {"human": handle(shown[0][1]), **once}
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=min(5, len(handles))
        )
    return figure


def _histogram(axes: Axes, shown: Sequence[tuple[str, Look, Ranks]]) -> None:
    for _, of, ranks in shown:
        edges, counts = ranks.histogram.edges, ranks.histogram.counts
        axes.stairs(
            np.array(counts) / max(1, sum(counts)),
            edges,
            color=of.colour,
            linestyle=of.line,
            linewidth=1.6,
        )
    axes.set_xscale("log", base=2)
    largest = max(ranks.histogram.edges[-1] for _, _, ranks in shown)
    ticks = [rank for rank in (1, 2, 11, 50, 201, 1000, 10_000, 100_000) if rank < largest]
    axes.set_xticks(ticks, [f"{rank:,}" for rank in ticks])
    axes.set_xticks([], minor=True)
    axes.set(title="Rank in the original of each token", xlabel="rank (bins double)")
    axes.set(ylabel="share of tokens", ylim=(0, None))


def _shares(axes: Axes, shown: Sequence[tuple[str, Look, Ranks]]) -> None:
    for height, (_, _, ranks) in enumerate(reversed(shown)):
        left = 0.0
        for (_, found), shade in zip(ranks.shares.items(), SHADES, strict=True):
            share = found.value or 0.0
            axes.barh(height, share, left=left, color=shade, height=0.7)
            if share > 0.06:
                text = "white" if shade in SHADES[2:] else "#1c2028"
                middle = left + share / 2
                axes.text(middle, height, number(share, 2), ha="center", va="center", color=text)
            left += share
    axes.set_yticks(range(len(shown)), [name for name, *_ in reversed(shown)])
    axes.set(xlim=(0, 1), xticks=[])
    axes.spines["bottom"].set_visible(False)
    names = [name.removeprefix("rank ") for name in RANK_LABELS]
    handles = [Line2D([], [], color=s, marker="s", linestyle="none") for s in SHADES]
    axes.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4)
    axes.set_title("Shares of rank classes")


def _by_position(axes: Axes, shown: Sequence[tuple[str, Look, Ranks]]) -> None:
    for _, of, ranks in shown:
        shares = ranks.by_position
        first = np.array(shares.rank_1)
        deep = np.array(shares.rank_11_200) + np.array(shares.rank_gt_200)
        for values, line in ((first, "-"), (deep, ":")):
            axes.plot(*_means(values), color=of.colour, linestyle=line)
    axes.set(title="By position", xlabel=f"token of the continuation, means of {SMOOTHED}")
    axes.set(ylabel="solid rank 1, dotted > 10", ylim=(0, None))
    axes.yaxis.label.set_color(INK)


def _means(values: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    starts = range(0, len(values), SMOOTHED)
    pieces = [values[start : start + SMOOTHED] for start in starts]
    middles = [start + (len(piece) + 1) / 2 for start, piece in zip(starts, pieces, strict=True)]
    return middles, [float(piece.mean()) for piece in pieces]
