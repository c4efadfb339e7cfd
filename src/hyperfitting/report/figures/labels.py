"""Names beside points, so placed that they hide neither points nor each other."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from hyperfitting.report.figures.style import INK

Side = Literal["left", "center", "right"]
FONT = 7.5
GAP = 6.0  # points of a font between a point and its label
NEAREST = 8  # places beside a point, before those that need a line
LEADER: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.6, "color": INK, "shrinkA": 0}
STEP = 3.0  # pixels between the points of a line
LONGEST = 34  # characters of a label in a figure; tables have all of it


class Named(NamedTuple):
    """A label and what it names, in the panel's data; without a height it is the panel's foot."""

    label: str
    x: float
    y: float | None


def place_labels(axes: Axes, named: Sequence[Named]) -> None:
    """Put each label where it covers least: beside its point, else further off with a line to it.

    The panel must have been laid out; labels stay inside it as far as there is room.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    gap, frame = GAP * figure.dpi / 72, axes.get_window_extent()
    points = [_pixel(axes, each) for each in named]
    drawn_L2 = _along_lines(axes)
    taken = [Bbox.from_extents(x - gap, y - gap, x + gap, y + gap) for x, y in points]
    for each, (x, y) in zip(named, points, strict=True):
        text = shortened(each.label)
        width, height = _size(axes, text)
        places = list(_places(x, y, width, height, gap))
        costs = [_outside(box, frame) + _covered(box, taken, drawn_L2) for box, _ in places]
        chosen = costs.index(min(costs))
        box, side = places[chosen]
        taken.append(box)
        label = axes.annotate(
            text,
            xy=_data(axes, x, y),
            xytext=_data(axes, {"left": box.x0, "right": box.x1}.get(side, x), box.y0),
            horizontalalignment=side,
            verticalalignment="bottom",
            fontsize=FONT,
            annotation_clip=False,
            arrowprops=LEADER if chosen >= NEAREST else None,
        )
        label.set_in_layout(False)


def _size(axes: Axes, text: str) -> tuple[float, float]:
    shown = axes.annotate(text, (0.5, 0.5), xycoords="axes fraction", fontsize=FONT)
    size = shown.get_window_extent()
    shown.remove()
    return float(size.width), float(size.height)


def shortened(label: str, longest: int = LONGEST) -> str:
    """A label with its end left out where it is long."""
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


def _pixel(axes: Axes, of: Named) -> tuple[float, float]:
    low, high = axes.get_ylim()
    height = low + 0.04 * (high - low) if of.y is None else of.y
    x, y = axes.transData.transform((of.x, height))
    return float(x), float(y)


def _data(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """The inverse of the transform from data to pixels."""
    data = axes.transData.inverted().transform((x, y))
    return float(data[0]), float(data[1])


def _places(
    x: float, y: float, width: float, height: float, gap: float
) -> Iterator[tuple[Bbox, Side]]:
    """Where the box of a label may stand and which side of it is fixed, the nearest first."""
    for times in (1.0, 3.0, 5.5, 9.0):
        off = gap * times
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            left = x + right * (off + width / 2) - width / 2
            foot = y + up * (off + height / 2) - height / 2
            side: Side = "left" if right > 0 else "right" if right < 0 else "center"
            yield Bbox.from_bounds(left, foot, width, height), side


def _along_lines(axes: Axes) -> NDArray[np.float64]:
    """Points along every line of a panel, a few pixels apart, [L, 2]."""
    found = [np.empty((0, 2))]
    for line in axes.lines:
        corners = np.asarray(line.get_transform().transform(line.get_xydata()))
        for start, end in pairwise(corners):
            steps = 2 + int(np.hypot(*(end - start)) / STEP)
            found.append(np.linspace(start, end, steps))
    return np.concatenate(found)


def _covered(box: Bbox, taken: Sequence[Bbox], drawn_L2: NDArray[np.float64]) -> float:
    """The area of what a box would hide: points, labels and, for less, lines."""
    is_inside_L = ((drawn_L2 >= box.min) & (drawn_L2 <= box.max)).all(axis=1)
    return sum(_shared(box, other) for other in taken) + STEP * int(is_inside_L.sum())


def _shared(one: Bbox, other: Bbox) -> float:
    """The area that two boxes share."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(0.0, width) * max(0.0, height))


def _outside(box: Bbox, frame: Bbox) -> float:
    """The area of a box that lies outside the panel, and counts more."""
    return 2 * (box.width * box.height - _shared(box, frame))
