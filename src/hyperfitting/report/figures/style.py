"""What all figures share: ink, colours of arms, and the way into a page."""

import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hyperfitting.config.methods import METHODS
from hyperfitting.records import Arm
from hyperfitting.records.estimates import Estimate

INK = "#5a6070"
PNG_DPI = 160
POINTS_PER_INCH = 72
ANY_MARKER = "P"  # of decoders, and of methods that have no look of their own
# Beside those of `METHODS`: told apart with any colour vision, on white and on black (Okabe and
# Ito).
COLOURS = {
    "human": "#999999",
    "original": "#e69f00",
    "best_val_checkpoint": "#56b4e9",
    "tuned": "#0c8f68",  # a foreign checkpoint, which never stands beside arms of ours
}
MARKERS = {"original": "o", "best_val_checkpoint": "X", "tuned": "o"}
LINES = ("-", "--", "-.", ":")
STYLE: Any = {
    "text.color": INK,
    "text.parse_math": False,  # labels hold what users wrote
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "svg.hashsalt": "hyperfitting",
}


class Look(NamedTuple):
    """How an arm is drawn: colour and marker by its name, line by its parameters."""

    colour: str
    marker: str
    line: str
    is_hollow: bool


def colour_of(model: str) -> str:
    """The colour of a model by its arm's name; ink where nothing gives it one."""
    own = {method.arm: method.colour for method in METHODS.values()}
    return COLOURS.get(model) or own.get(model) or INK


def marker_of(model: str) -> str:
    """The marker of a model by its arm's name."""
    own = {method.arm: method.marker for method in METHODS.values()}
    return MARKERS.get(model) or own.get(model) or ANY_MARKER


def look(arm: Arm, arms: Iterable[Arm] = ()) -> Look:
    """The look of an arm among others.

    Sampled arms are hollow. A matched original has the original's colour and the marker of the
    arm it was matched to. Decoders and arms on nulls are drawn in ink. Arms of one name with
    different parameters have different lines.
    """
    if arm.matched_to is not None:
        return Look(COLOURS["original"], marker_of(arm.matched_to), "-", arm.is_sampled)
    kinds = list(dict.fromkeys(other.variant for other in arms if other.name == arm.name))
    place = kinds.index(arm.variant) if arm.variant in kinds else 0
    colour = INK if arm.is_decoded or arm.is_null else colour_of(arm.model)
    marker = ANY_MARKER if arm.is_decoded else marker_of(arm.model)
    return Look(colour, marker, LINES[place % len(LINES)], arm.is_sampled)


def draw_estimates(axes: Axes, x: list[int], estimates: Sequence[Estimate], of: Look) -> None:
    """A line with a band for the intervals; undefined points are left out."""
    points = [
        (place, found, found.value)
        for place, found in zip(x, estimates, strict=True)
        if found.value is not None
    ]
    axes.plot(
        [place for place, _, _ in points],
        [value for _, _, value in points],
        color=of.colour,
        linestyle=of.line,
        marker=of.marker,
        markersize=4,
    )
    sure = [(p, f.low, f.high) for p, f, _ in points if f.low is not None and f.high is not None]
    if sure:
        x_sure, low, high = zip(*sure, strict=True)
        axes.fill_between(x_sure, low, high, color=of.colour, alpha=0.2, linewidth=0)


def handle(of: Look) -> Line2D:
    """An entry of a legend."""
    line: Any = of.line
    fill = "none" if of.is_hollow else of.colour
    return Line2D(
        [],
        [],
        color=of.colour,
        linestyle=line,
        marker=of.marker,
        markersize=4,
        markerfacecolor=fill,
    )


def to_files(figure: Figure, title: str, png: Path, pdf: Path) -> str:
    """Write a figure as PNG and PDF; returns it as SVG.

    Each is drawn once. `Figure.savefig` draws twice, and a layout pass of its own is a third time:
    drawing for the PNG lays out too.
    """
    with matplotlib.rc_context(STYLE):
        figure.set_dpi(PNG_DPI)
        canvas: Any = FigureCanvasAgg(figure)  # untyped, as those below
        canvas.draw()
        matplotlib.image.imsave(png, canvas.buffer_rgba(), dpi=PNG_DPI)
        figure.set_layout_engine("none")
        canvas = FigureCanvasPdf(figure)
        canvas.print_pdf(pdf, metadata={"CreationDate": None})
    return to_svg(figure, title)


def to_svg(figure: Figure, title: str) -> str:
    """An SVG element for a page: no fixed size, the page's text colour, a title for readers."""
    buffer = io.StringIO()
    figure.set_dpi(POINTS_PER_INCH)  # of an SVG, whatever the figure was drawn at before
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_facecolor("none")  # the page's own background shows
    canvas: Any = FigureCanvasSVG(figure)
    with matplotlib.rc_context(STYLE):  # its salt makes the file the same every time
        canvas.print_svg(buffer, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*pt"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
