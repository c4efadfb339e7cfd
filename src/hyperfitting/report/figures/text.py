"""Figures of what the arms write: how varied, and how varied at which sharpness."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hyperfitting.records import HUMAN, Arm, Measurement
from hyperfitting.report.figures.style import COLOURS, INK, STYLE, Look, handle, look
from hyperfitting.report.load import Study


def diversity(study: Study, *, narrow: bool = False) -> Figure:
    """TTR and bigram repetition of every greedy arm with intervals; human values as lines.

    Side by side, or below each other for the width of a phone.
    """
    arms = [arm for arm in study.greedy if arm.name != "human"]
    rows, columns = (2, 1) if narrow else (1, 2)
    size = (4.6, 1.4 + 0.8 * len(arms)) if narrow else (10, 0.7 + 0.4 * len(arms))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        panels = [("ttr", "Type-token ratio"), ("bigram_repetition", "Bigram repetition")]
        both = figure.subplots(rows, columns, sharey=True).flat
        for axes, (metric, title) in zip(both, panels, strict=True):
            for height, arm in enumerate(reversed(arms)):
                row = study.cell(arm, metric)
                if row is None or row.mean is None:
                    continue
                axes.barh(height, row.mean, color=look(arm).colour, alpha=0.85, height=0.6)
                if row.low is not None and row.high is not None:
                    axes.plot([row.low, row.high], [height, height], color=INK, linewidth=1.5)
            _human(axes, study, metric)
            axes.set(xlim=(0, 1))
            axes.set_title(title, pad=14)
            axes.set_yticks(range(len(arms)), [study.label(arm) for arm in reversed(arms)])
    return figure


def _human(axes: Axes, study: Study, metric: str) -> None:
    human = study.cell(HUMAN, metric)
    if human is None or human.mean is None:
        return
    axes.axvline(human.mean, color=INK, linestyle="--", linewidth=1)
    axes.annotate(
        "human",
        (human.mean, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, 1),
        textcoords="offset points",
        fontsize=8,
    )


def sharpness(study: Study) -> Figure | None:
    """TTR against the entropy of the model (paper, Figure 3); None without matched arms.

    The original made as sharp as a tuned arm lies on that arm's vertical line: filled where it
    is greedy, hollow where it is sampled. Sampled arms have the entropy of their model.
    """
    if not any(arm.matched_to and not arm.is_sampled for arm in study.shown):
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        axes = figure.subplots()
        names: dict[str, Line2D] = {}
        for arm in study.shown:
            model = arm.greedy() if arm.is_sampled else arm
            entropy = study.cell(model, "prediction_entropy_nats")
            ttr = study.cell(arm, "ttr")
            if not entropy or not ttr or entropy.mean is None or ttr.mean is None:
                continue
            point = _point(axes, arm, entropy.mean, ttr, ttr.mean)
            if not arm.is_control:
                names[study.label(arm)] = point
        for tuned in study.tuned:
            entropy = study.cell(tuned, "prediction_entropy_nats")
            if entropy and entropy.mean is not None:
                axes.axvline(entropy.mean, color=INK, linewidth=0.6, linestyle=":", zorder=0)
        human = study.cell(HUMAN, "ttr")
        if human and human.mean is not None:
            names["human"] = axes.axhline(
                human.mean, color=COLOURS["human"], linestyle="--", linewidth=1
            )
        names["greedy"] = handle(Look(INK, "o", "none", False))
        names["sampled"] = handle(Look(INK, "o", "none", True))
        axes.set(xlabel="prediction entropy on human text, nats", ylabel="type-token ratio")
        axes.set(ylim=(0, 1.02), title="The original at each tuned arm's entropy (dotted lines)")
        figure.legend(names.values(), names.keys(), loc="outside right center")
    return figure


def _point(axes: Axes, arm: Arm, entropy: float, ttr: Measurement, mean: float) -> Line2D:
    of = look(arm)
    if ttr.low is not None and ttr.high is not None:
        axes.plot([entropy, entropy], [ttr.low, ttr.high], color=of.colour, linewidth=1.2)
    return axes.plot(
        [entropy],
        [mean],
        color=of.colour,
        marker=of.marker,
        markerfacecolor="none" if of.is_hollow else of.colour,
        markersize=8,
        linestyle="none",
    )[0]
