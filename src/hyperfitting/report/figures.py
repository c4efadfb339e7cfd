"""Records to matplotlib figures, one function per figure.

Drawn once with a neutral ink that the page replaces by its own text colour, so that one SVG
serves a light and a dark page.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from hyperfitting.records import MonitorRow
from hyperfitting.report.load import Study, label

INK = "#5a6070"
# Told apart with any colour vision, on white and on black (Okabe and Ito).
COLOURS = {
    "human": "#999999",
    "original": "#e69f00",
    "hyperfitted": "#0c8f68",
    "full_lora": "#3a8fd0",
    "late_stage_lora": "#d55e00",
    "late_stage_sft": "#a8639a",
}
MARKERS = {"hyperfitted": "o", "full_lora": "s", "late_stage_lora": "^", "late_stage_sft": "D"}
STYLE: Any = {
    "text.color": INK,
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


def _series(rows: Sequence[MonitorRow], name: str) -> tuple[list[int], list[float]]:
    points = [(row.epoch, getattr(row, name)) for row in rows if getattr(row, name) is not None]
    return [epoch for epoch, _ in points], [value for _, value in points]


@dataclass(frozen=True)
class Curve:
    """The monitoring points of one run, as a figure shows them."""

    arm: str
    label: str
    rows: Sequence[MonitorRow]


def training_curves(study: Study) -> Figure | None:
    """The triad of every arm of a study; None without monitoring."""
    curves = [
        Curve(arm[0], label(arm, study.arms), rows) for arm, rows in study.curves.items() if rows
    ]
    references = {}
    for name in ("human", "original"):
        row = study.cell((name, None), "ttr")
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
        figure = Figure(figsize=(10, 5.6), layout="constrained")
        loss, perplexity, ttr, ranks = figure.subplots(2, 2).flat
        _panel(loss, curves, "train_loss", "Training loss", "nats per token", "log")
        _panel(perplexity, curves, "val_ppl", "Validation perplexity", "held-out windows", "log")
        _panel(ttr, curves, "ttr", "Type-token ratio, greedy", "distinct / all tokens")
        for name, value in references.items():
            ttr.axhline(value, color=COLOURS[name], linestyle="--", linewidth=1, label=name)
        title = "Rank of its tokens in the original model"
        _panel(ranks, curves, "rank_1", title, "share: solid rank 1, dotted > 10")
        for curve in curves:
            colour = COLOURS.get(curve.arm, INK)
            ranks.plot(*_series(curve.rows, "rank_gt_10"), color=colour, linestyle=":")
        for axes in (ttr, ranks):
            axes.set_ylim(0, 1.02)
        handles, names = ttr.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def _panel(
    axes: Axes, curves: Sequence[Curve], name: str, title: str, unit: str, scale: str = "linear"
) -> None:
    for curve in curves:
        axes.plot(
            *_series(curve.rows, name),
            color=COLOURS.get(curve.arm, INK),
            marker=MARKERS.get(curve.arm, "o"),
            markersize=4,
            label=curve.label,
        )
    axes.set(title=title, xlabel="epoch", ylabel=unit, yscale=scale, xlim=(-0.3, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if scale == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def diversity(study: Study) -> Figure:
    """TTR and bigram repetition of every arm with intervals; the human value as a line."""
    arms = [arm for arm in study.arms if arm[0] != "human"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 0.7 + 0.4 * len(arms)), layout="constrained")
        panels = [("ttr", "Type-token ratio"), ("bigram_repetition", "Bigram repetition")]
        for axes, (metric, title) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
            for height, arm in enumerate(reversed(arms)):
                row = study.cell(arm, metric)
                if row is None or row.mean is None:
                    continue
                colour = COLOURS.get(arm[0], INK)
                axes.barh(height, row.mean, color=colour, alpha=0.85, height=0.6)
                if row.low is not None and row.high is not None:
                    axes.plot([row.low, row.high], [height, height], color=INK, linewidth=1.5)
            human = study.cell(("human", None), metric)
            if human is not None and human.mean is not None:
                axes.axvline(human.mean, color=INK, linestyle="--", linewidth=1)
                axes.annotate(
                    "human",
                    (human.mean, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, 1),
                    textcoords="offset points",
                    fontsize=8,
                )
            axes.set(xlim=(0, 1))
            axes.set_title(title, pad=14)
            axes.set_yticks(range(len(arms)), [label(arm, study.arms) for arm in reversed(arms)])
    return figure


def to_svg(figure: Figure, title: str) -> str:
    """An SVG element for a page: no fixed size, the page's text colour, a title for readers."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):  # its salt makes the file the same every time
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*pt"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def save_run_figure(rows: Sequence[MonitorRow], arm: str, path: Path) -> None:
    """Write the triad of one run as a PNG; nothing without monitoring."""
    figure = triad([Curve(arm, arm, rows)] if rows else [], {})
    if figure is not None:
        with matplotlib.rc_context(STYLE):
            figure.savefig(path, dpi=150)
