"""Records to matplotlib figures, one function per figure.

Drawn once with a neutral ink that the page replaces by its own text colour, so that one SVG
serves a light and a dark page.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from hyperfitting.records import MonitorRow
from hyperfitting.report.load import Arm, Study, label

INK = "#5a6070"
# Told apart with any colour vision, on white and on black (Okabe and Ito).
COLOURS = {
    "human": "#999999",
    "original": "#e69f00",
    "hyperfitted": "#0c8f68",
    "full_lora": "#3a8fd0",
    "late_stage_lora": "#d55e00",
}
MARKERS = {"hyperfitted": "o", "full_lora": "s", "late_stage_lora": "^"}
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


def _reference_lines(axes: Axes, study: Study, metric: str) -> None:
    """The human and the original value as horizontal lines, named at the right edge."""
    for name in ("human", "original"):
        row = study.cell((name, None), metric)
        if row is not None and row.mean is not None:
            axes.axhline(row.mean, color=COLOURS[name], linestyle="--", linewidth=1, label=name)


def training_curves(study: Study) -> Figure | None:
    """Training loss, validation perplexity and TTR over epochs; None without monitoring."""
    curves: dict[Arm, list[MonitorRow]] = {arm: rows for arm, rows in study.curves.items() if rows}
    if not curves:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.1), layout="constrained")
        panels = [
            ("train_loss", "Training loss", "nats per token", "log"),
            ("val_ppl", "Validation perplexity", "held-out windows", "log"),
            ("ttr", "Type-token ratio, greedy", "distinct / all tokens", "linear"),
        ]
        for axes, (name, title, unit, scale) in zip(figure.subplots(1, 3), panels, strict=True):
            for arm, rows in curves.items():
                axes.plot(
                    *_series(rows, name),
                    color=COLOURS.get(arm[0], INK),
                    marker=MARKERS.get(arm[0], "o"),
                    markersize=4,
                    label=label(arm, study.arms),
                )
            if name == "ttr":
                _reference_lines(axes, study, name)
                axes.set_ylim(0, 1)
            axes.set(title=title, xlabel="epoch", ylabel=unit, yscale=scale, xlim=(-0.3, None))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if scale == "log":
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
        handles, names = figure.axes[-1].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


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
