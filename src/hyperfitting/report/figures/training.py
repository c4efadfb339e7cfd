"""Figures of training: what was monitored over the epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from hyperfitting.faults import writing
from hyperfitting.measure.intervals import bootstrap_mean
from hyperfitting.records import Arm, MonitorRow
from hyperfitting.records.arms import label
from hyperfitting.report.figures.style import COLOURS, STYLE, Look, look
from hyperfitting.report.load import Study

# Of the bands around a curve.
RESAMPLES, CONFIDENCE = 1_000, 0.95


@dataclass(frozen=True)
class Curve:
    """The monitoring points of one run, as a figure shows them, and the loss of every epoch."""

    look: Look
    label: str
    rows: Sequence[MonitorRow]
    losses: Sequence[float] = ()  # from epoch 1 on


def training_curves(study: Study) -> Figure | None:
    """The triad of every run of a study, seeds in one colour; None without monitoring."""
    arms = list(study.curves)
    losses = {run.arm: run.train_loss or () for run in study.runs}
    curves = [
        Curve(look(arm, arms), label(arm.variant, []), rows, losses.get(arm, ()))
        for arm, rows in study.curves.items()
        if rows
    ]
    references = {}
    for name in ("human", "original"):
        row = study.cell(Arm(name), "ttr")
        if row is not None and row.mean is not None:
            references[name] = row.mean
    return triad(curves, references)


def triad(curves: Sequence[Curve], references: Mapping[str, float]) -> Figure | None:
    """Loss, validation perplexity, TTR and rank shares over epochs (paper, Figure 2).

    `references` are TTRs of other arms, drawn as horizontal lines. None without curves.
    """
    if not curves:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 5.8), layout="constrained")
        loss, perplexity, ttr, ranks = figure.subplots(2, 2).flat
        _panel(loss, curves, "train_loss", "Training loss", "nats per token", "log")
        _panel(perplexity, curves, "val_ppl", "Validation perplexity", "held-out windows", "log")
        _panel(ttr, curves, "ttr", "Type-token ratio, greedy", "distinct / all tokens")
        for name, value in references.items():
            ttr.axhline(value, color=COLOURS[name], linestyle="--", linewidth=1, label=name)
        title = "Its ranks in the original: 1 (solid), 2-10, > 200 (dotted)"
        _panel(ranks, curves, "rank_1", title, "share of tokens")
        for curve in curves:
            for name, line in (("rank_2_10", "--"), ("rank_gt_200", ":")):
                ranks.plot(*_series(curve.rows, name), color=curve.look.colour, linestyle=line)
                _band(ranks, curve, name)
            _band(ranks, curve, "rank_1")
        for curve in curves:
            _band(ttr, curve, "ttr")
        for axes in (ttr, ranks):
            axes.set_ylim(0, 1.02)
        once = dict(zip(*reversed(ttr.get_legend_handles_labels()), strict=True))
        columns = min(len(once), 5)
        figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=columns)
    return figure


def _series(rows: Sequence[MonitorRow], name: str) -> tuple[list[int], list[float]]:
    points = [(row.epoch, getattr(row, name)) for row in rows if getattr(row, name) is not None]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _points(curve: Curve, name: str) -> tuple[list[int], list[float], list[int] | None]:
    """Epochs, values, and which of them are marked; all where None.

    The training loss is drawn of every epoch, so that a spike between two monitored ones is seen.
    """
    if name != "train_loss" or not curve.losses:
        return *_series(curve.rows, name), None
    epochs = list(range(1, 1 + len(curve.losses)))
    monitored = {row.epoch for row in curve.rows}
    marked = [place for place, epoch in enumerate(epochs) if epoch in monitored]
    return epochs, list(curve.losses), marked


def _band(axes: Axes, curve: Curve, name: str) -> None:
    """The interval over the contexts of every point that has its contexts' values."""
    points = []
    for row in curve.rows:
        values = [each for each in row.per_context.get(name, []) if each is not None]
        if len(values) > 1:
            found = bootstrap_mean(
                np.array(values), resamples=RESAMPLES, confidence=CONFIDENCE, seed=0
            )
            points.append((row.epoch, found.low, found.high))
    if points:
        epochs, low, high = zip(*points, strict=True)
        axes.fill_between(epochs, low, high, color=curve.look.colour, alpha=0.15, linewidth=0)


def _panel(
    axes: Axes, curves: Sequence[Curve], name: str, title: str, unit: str, scale: str = "linear"
) -> None:
    for curve in curves:
        epochs, values, marked = _points(curve, name)
        axes.plot(
            epochs,
            values,
            color=curve.look.colour,
            marker=curve.look.marker,
            markevery=marked,
            linestyle=curve.look.line,
            markersize=4,
            label=curve.label,
        )
    axes.set(title=title, xlabel="epoch", ylabel=unit, yscale=scale, xlim=(-0.3, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if scale == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def save_run_figure(
    rows: Sequence[MonitorRow], losses: Sequence[float], arm: str, path: Path
) -> None:
    """Write the triad of one run as a PNG; nothing without monitoring."""
    figure = triad([Curve(look(Arm(arm)), arm, rows, losses)] if rows else [], {})
    if figure is not None:
        with matplotlib.rc_context(STYLE), writing(path):
            figure.savefig(path, dpi=150)
