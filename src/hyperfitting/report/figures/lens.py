"""At which layer promoted words come up: median rank by layer, and the share that has passed."""

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from hyperfitting.records.controls.lens import Lens
from hyperfitting.report.figures.style import COLOURS, STYLE, Look, draw_estimates, handle, look
from hyperfitting.report.load import Study


def lens(study: Study) -> Figure | None:
    """The logit lens of every tuned model (ours); None without data."""
    found = [each for each in study.explained.of(Lens) if each.rows]
    if not found:
        return None
    arms = [each.arm for each in found]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        ranks, passed = figure.subplots(1, 2)
        handles = {}
        for each in found:
            of = look(each.arm, arms)
            layers = [row.layer for row in each.rows]
            draw_estimates(ranks, layers, [row.rank_tuned for row in each.rows], of)
            draw_estimates(passed, layers, [row.passed for row in each.rows], of)
            handles[study.label(each.arm.variant)] = handle(of)
        before = Look(COLOURS["original"], "o", "--", False)
        first = found[0]
        draw_estimates(
            ranks, [row.layer for row in first.rows], [row.rank_original for row in first.rows],
            before,
        )  # fmt: skip
        handles[f"the same words in the original ({study.label(first.arm)})"] = handle(before)
        ranks.set_yscale("log")
        ranks.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ranks.invert_yaxis()
        ranks.set(title="Median rank of promoted words", ylabel="rank (1 is the choice)")
        passed.set(title="Above the original's choice from here on", ylabel="share of these words")
        passed.set_ylim(0, 1.02)
        for axes in (ranks, passed):
            axes.set(xlabel="layer")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure
