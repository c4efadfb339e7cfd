"""Labels of a figure lie beside their points, inside the panel, and not on each other."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from hyperfitting.report.figures.labels import LONGEST, Named, place_labels, shortened


def placed(points):
    """The boxes of the labels of such points, and the panel's."""
    figure = Figure(figsize=(6, 5))
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.plot(*zip(*points, strict=True), "o", linestyle="none")
    place_labels(axes, [Named(f"arm number {i}", x, y) for i, (x, y) in enumerate(points)])
    figure.draw_without_rendering()  # boxes of the words, without the lines that lead to them
    return [Text.get_window_extent(text) for text in axes.texts], axes.get_window_extent()


@pytest.mark.parametrize("seed", range(3))
def test_labels_do_not_overlap_and_stay_inside(seed):
    boxes, frame = placed(np.random.default_rng(seed).uniform(0.02, 0.98, size=(10, 2)).tolist())
    for i, box in enumerate(boxes):
        assert frame.x0 - 2 <= box.x0
        assert box.x1 <= frame.x1 + 2
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in boxes[:i])


def test_points_in_one_place_have_labels_apart():
    boxes, _ = placed([(0.5, 0.5)] * 6)
    assert len({(round(box.x0), round(box.y0)) for box in boxes}) == 6
    assert not any(
        box.padded(-1).overlaps(other.padded(-1)) for i, box in enumerate(boxes)
        for other in boxes[:i]
    )  # fmt: skip


def test_a_name_without_a_height_stands_at_the_foot():
    figure = Figure(figsize=(6, 5))
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    place_labels(axes, [Named("human", 0.5, None)])
    [text] = axes.texts
    assert text.get_position()[1] < 0.1
    assert text.get_text() == "human"


def test_long_names_are_cut():
    assert shortened("a" * LONGEST) == "a" * LONGEST
    assert shortened("a" * (LONGEST + 1)) == "a" * (LONGEST - 1) + "…"
