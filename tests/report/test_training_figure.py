"""The figure of training shows every epoch's loss and the spread over contexts, and no more."""

import numpy as np
import pytest

from hyperfitting.records import Arm, MonitorRow
from hyperfitting.report.figures.style import look
from hyperfitting.report.figures.training import Curve, triad

ARM = Arm("hyperfitted", 0)
LOSSES = [3.0, 1.0, 2.5, 0.1]  # a spike at epoch 3, between the monitored ones


def row(epoch, per_context):
    return MonitorRow(
        epoch=epoch, step=epoch, train_loss=LOSSES[epoch - 1] if epoch else None, val_loss=2.0,
        val_ppl=7.4, ttr=0.2 + epoch / 10, bigram_repetition=0.1, rank_1=0.6, rank_2_10=0.3,
        rank_gt_10=0.1, rank_gt_200=0.05, rank_prefix="OP", num_contexts=8, num_windows=2,
        seconds=0.1, per_context=per_context,
    )  # fmt: skip


@pytest.fixture(scope="module")
def panels():
    values = np.random.default_rng(0).random(8)
    rows = [row(epoch, {"rank_2_10": list(values), "ttr": [*values, None]}) for epoch in (0, 4)]
    figure = triad([Curve(look(ARM, [ARM]), "hyperfitted", rows, LOSSES)], {})
    return dict(zip(("loss", "perplexity", "ttr", "ranks"), figure.axes, strict=True)), values


def test_a_spike_between_monitored_epochs_is_drawn(panels):
    axes = panels[0]["loss"]
    every = [line for line in axes.lines if len(line.get_xdata()) == len(LOSSES)]
    assert [line.get_ydata().tolist() for line in every] == [LOSSES]
    assert list(every[0].get_xdata()) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["ttr", "ranks"])
def test_a_band_is_the_bootstrap_interval_of_the_contexts(panels, name):
    (band,) = panels[0][name].collections
    values = panels[1]
    rng = np.random.default_rng(1)
    means = [rng.choice(values, len(values)).mean() for _ in range(20_000)]
    low, high = np.quantile(means, [0.025, 0.975])
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(low, abs=0.02)
    assert heights.max() == pytest.approx(high, abs=0.02)


def test_all_three_bands_of_ranks_are_drawn(panels):
    drawn = {round(float(line.get_ydata()[0]), 2) for line in panels[0]["ranks"].lines}
    assert drawn == {0.6, 0.3, 0.05}


def test_rows_of_an_older_version_are_drawn_without_bands():
    figure = triad([Curve(look(ARM, [ARM]), "hyperfitted", [row(0, {}), row(4, {})])], {})
    assert not any(axes.collections for axes in figure.axes)
