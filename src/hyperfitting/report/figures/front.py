"""The figure of variety against quality: every arm, and the front of those that none dominates."""

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from hyperfitting.measure.intervals import Bounded
from hyperfitting.records import HUMAN, ORIGINAL, Arm
from hyperfitting.report.figures.labels import Named, place_labels, shortened
from hyperfitting.report.figures.style import COLOURS, INK, STYLE, Look, handle, look, marker_of
from hyperfitting.report.load import Study
from hyperfitting.report.sections.competitors import VARIETY, Front, Kind, fronts, kind

SOFT = COLOURS["human"]  # of arms that are not named: read on white and on black
# Markers of what is not named, and of the legend; tuned arms and the original have their own.
KINDS: dict[Kind, tuple[str, str, bool]] = {
    "decoder": ("another decoder", "P", False),
    "sampled": ("sampled", "o", True),
    "matched": ("the original at equal entropy", "d", True),
    "strength": ("another strength", ".", False),
    "checkpoint": ("a checkpoint on the way", "x", False),
    "null": ("trained on a null", "s", True),
}


def front(study: Study) -> Figure | None:
    """A panel per scorer, from the outside ones to the original; None with too few arms."""
    found = fronts(study)
    if not found:
        return None
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6 * rows + 0.5), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        names = [_panel(axes, study, of) for axes, of in zip(panels, found, strict=False)]
        handles = _legend({kind(arm) for of in found for arm in of.arms})
        for axes in panels[len(found) :]:
            axes.set_axis_off()
            axes.legend(handles.values(), handles.keys(), loc="center")
        if len(panels) == len(found):
            figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6)
        figure.draw_without_rendering()  # where points lie is known from here on
        for axes, named in zip(panels, names, strict=False):
            place_labels(axes, named)
    return figure


def _panel(axes: Axes, study: Study, of: Front) -> list[Named]:
    """Draw one panel; returns what its labels name."""
    front_arms, is_near = of.on_it, of.scorer.is_nearness
    named = [Named(study.label(ORIGINAL), *_at(study, of, ORIGINAL))] if ORIGINAL in of.arms else []
    human = study.cell(HUMAN, VARIETY)
    if human is not None and human.mean is not None:
        axes.axvline(human.mean, color=SOFT, linestyle="--", linewidth=1, zorder=0)
        if is_near:
            axes.plot([human.mean], [0], color=SOFT, marker="*", markersize=11, linestyle="none")
        named.append(Named("human", human.mean, 0.0 if is_near else None))
    _strengths(axes, study, of)
    for arm in of.arms:
        is_named = arm in front_arms or kind(arm) in ("original", "tuned")
        _point(axes, study, of, arm, is_named=is_named)
        if is_named and arm != ORIGINAL:
            named.append(Named(study.label(arm), *_at(study, of, arm)))
    axes.set(xlabel="type-token ratio", title=shortened(of.scorer.name, 60))
    axes.set_ylabel("nats from human text (up: nearer)" if is_near else "MAUVE")
    axes.margins(x=0.12, y=0.12)
    _staircase(axes, [_at(study, of, arm) for arm in front_arms], of.most)
    if is_near:  # drawn as minus the distance, so that up is better
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):g}"))
    return named


def _at(study: Study, of: Front, arm: Arm) -> tuple[float, float]:
    """Where an arm is drawn: at its own TTR, also where that is above the human one."""
    row = study.cell(arm, VARIETY)
    variety, quality = of.values(arm)
    own = variety.value if row is None or row.mean is None else row.mean
    return own, quality.value


def _point(axes: Axes, study: Study, of: Front, arm: Arm, *, is_named: bool) -> None:
    x, y = _at(study, of, arm)
    row, (_, quality) = study.cell(arm, VARIETY), of.values(arm)
    drawn = _look(arm, of.arms, is_named=is_named)
    if row is not None and row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [y, y], color=drawn.colour, linewidth=0.8, alpha=0.6)
    _upright(axes, x, quality, drawn.colour)
    axes.plot(
        [x],
        [y],
        color=drawn.colour,
        marker=drawn.marker,
        markerfacecolor="none" if drawn.is_hollow else drawn.colour,
        markersize=8 if is_named else 5,
        linestyle="none",
        zorder=4 if is_named else 3,
    )


def _upright(axes: Axes, x: float, quality: Bounded, colour: str) -> None:
    if quality.low is not None and quality.high is not None:
        ends = [quality.low, quality.high]
        axes.plot([x, x], ends, color=colour, linewidth=0.8, alpha=0.6)


def _look(arm: Arm, arms: Sequence[Arm], *, is_named: bool) -> Look:
    """The look that an arm has everywhere, by its kind; in grey where it is not named."""
    own, what = look(arm, arms), kind(arm)
    if what not in KINDS:
        return own
    _, marker, is_hollow = KINDS[what]
    marker = marker_of(arm.model) if what == "strength" and is_named else marker
    return Look(own.colour if is_named else SOFT, marker, "-", is_hollow)


def _strengths(axes: Axes, study: Study, of: Front) -> None:
    """A thin line through the strengths of every tuned model, from the original on."""
    for tuned in of.arms:
        if not tuned.is_tuned:
            continue
        own = [arm for arm in of.arms if kind(arm) == "strength"]
        scaled = [arm for arm in own if arm.at_strength(None) == tuned]
        if not scaled:
            continue
        line = sorted([*scaled, tuned], key=lambda arm: arm.full_strength)
        first = [ORIGINAL] if ORIGINAL in of.arms and line[0].full_strength > 0 else []
        x, y = zip(*(_at(study, of, arm) for arm in [*first, *line]), strict=True)
        axes.plot(x, y, color=look(tuned, of.arms).colour, linewidth=0.9, alpha=0.8, zorder=1)


def _staircase(axes: Axes, corners: Sequence[tuple[float, float]], most: float | None) -> None:
    """The border of what the arms on the front dominate, to the edges of the panel."""
    (left, right), (foot, head) = axes.get_xlim(), axes.get_ylim()
    path = border(corners, left, right, foot, most)
    axes.plot(*zip(*path, strict=True), color=INK, linewidth=1.4, zorder=2)
    axes.set(xlim=(left, right), ylim=(foot, head))


def border(
    corners: Sequence[tuple[float, float]],
    left: float,
    right: float,
    foot: float,
    most: float | None,
) -> list[tuple[float, float]]:
    """The upper right border of the union of what lies left of and below each corner.

    Beyond `most` all count as equally varied: the last step goes on to the right there.
    """
    path = [(left, min(corners)[1])]
    for x, y in sorted(corners):
        path += [(path[-1][0], y), (x, y)]
    is_open = most is not None and path[-1][0] >= most
    return [*path, (right, path[-1][1]) if is_open else (path[-1][0], foot)]


def _legend(kinds: set[Kind]) -> dict[str, Line2D]:
    handles = {
        name: handle(Look(SOFT, marker, "none", is_hollow))
        for what, (name, marker, is_hollow) in KINDS.items()
        if what in kinds
    }
    return {"front": handle(Look(INK, "", "-", False)), **handles}
