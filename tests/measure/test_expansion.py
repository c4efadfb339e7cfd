"""Is the last step a break in the trend of the layers? Planted trends, and their words."""

import numpy as np
import pytest

from hyperfitting.measure.expansion import (
    LastLayer,
    has_terminal_expansion,
    terminal_expansion_in_words,
)
from hyperfitting.measure.intervals import Bounded
from hyperfitting.measure.trend import FEW_CONTEXTS, NO_LAYER, ONE_BLOCK, ONLY_LAST, trend

UP, DOWN, OPEN = Bounded(8.0, 2.0, 12.0), Bounded(-8.0, -12.0, -2.0), Bounded(1.0, -3.0, 4.0)
R = 4_000


def planted(values, noise=0.5, first=1, contexts=60, seed=0):
    """A trend whose layers share half of the noise of each draw, as layers of one model do."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=R) * noise
    draws = [v + shared + noise / 10 * rng.normal(size=R) for v in values]
    return trend(values, draws, first_different=first, contexts=contexts, confidence=0.95)


GROWS = planted([0, 4, 9, 13, 18])  # the same at every layer
BREAKS = planted([0, 4, 9, 13, 40])


def test_a_planted_break_is_found_and_a_steady_growth_is_none():
    assert BREAKS.last_minus_others.value == pytest.approx(27 - 13 / 3)
    assert BREAKS.last_minus_others.low > 20
    assert (BREAKS.growing, BREAKS.largest) == (4, 4)
    assert GROWS.last_minus_others.value == pytest.approx(5 - 13 / 3)
    steady = planted([0, 4.4, 8.8, 13.2, 17.6], noise=2.0)
    assert steady.last_minus_others.low < 0 < steady.last_minus_others.high
    assert steady.growing == 4, "it grows at every layer, which is no terminal expansion"


def test_noise_that_layers_share_cancels_in_a_step():
    """The change at the last layer is uncertain by 2 dimensions, its step by a fifth of that."""
    found = planted([0, 0, 0, 6], noise=2.0)
    step = found.steps[-1]
    assert step.high - step.low < 2


def test_layers_that_cannot_differ_are_no_trend():
    """Steps of 0 below the first block that differs would make any growth a break."""
    values = [0, 0, 0, 0, 5, 10, 15]
    assert planted(values, first=1).last_minus_others.low > 0
    from_there = planted(values, first=4)
    assert from_there.first == 4
    assert len(from_there.steps) == 3
    assert from_there.last_minus_others.low < 0.1


def test_trends_that_cannot_be_told():
    only = planted([0, 0, 0, 5], first=3)
    assert (only.last_minus_others, only.reason, len(only.steps)) == (None, ONLY_LAST, 1)
    assert planted([0, 5]).reason == ONE_BLOCK
    assert planted([0, 0, 0], first=None).reason == NO_LAYER
    few = planted([0, 1, 9], contexts=5)
    assert (few.last_minus_others.low, few.reason) == (None, FEW_CONTEXTS)
    assert planted([0, 1, 9], contexts=6).reason is None
    draws = [np.zeros(3)] * 3
    undefined = trend([0, None, 1], draws, first_different=1, contexts=9, confidence=0.9)
    assert (undefined.steps, undefined.reason) == ((), "undefined at a layer")
    with pytest.raises(ValueError, match="two layers"):
        trend([0], draws[:1], first_different=0, contexts=9, confidence=0.9)


def test_a_draw_without_spread_is_left_out():
    draws = [np.array([0.0, 0.0, np.nan, 0.0]), np.ones(4), np.full(4, 3.0)]
    found = trend([0, 1, 3], draws, first_different=0, contexts=9, confidence=0.9)
    assert found.last_minus_others == (1, 1, 1)


def last(*taps, growth=BREAKS, normalised=BREAKS):
    return LastLayer(*taps, growth, normalised)


@pytest.mark.parametrize(
    ("taps", "start"),
    [
        (
            (DOWN, OPEN, UP),
            "The expansion appears in post_final_norm only: a normalisation artefact.",
        ),
        (
            (UP, OPEN, UP),
            "A terminal expansion is not shown: the dimensions of the last layer grow in "
            "block_output and post_final_norm but not in rms_normalised.",
        ),
        ((OPEN, None, DOWN), "A terminal expansion is not shown in any space."),
    ],
)
def test_an_expansion_needs_each_space(taps, start):
    assert terminal_expansion_in_words(last(*taps)).startswith(start)
    assert not has_terminal_expansion(last(*taps))


def test_a_break_in_the_trend_is_a_terminal_expansion():
    found = last(UP, UP, UP)
    assert has_terminal_expansion(found)
    words = terminal_expansion_in_words(found)
    assert "the last step is larger than the mean of the others, a terminal expansion" in words
    assert "block_output +22.7 [" in words
    assert words.endswith("They grow at every layer from 1 on (block_output); the largest step is "
                          f"the last, +27.0 [{BREAKS.steps[-1].low:+.1f}, "
                          f"{BREAKS.steps[-1].high:+.1f}].")  # fmt: skip


def test_growth_at_every_layer_is_not_called_terminal():
    steady = planted([0, 6, 10, 14, 18], noise=2.0)
    found = last(UP, UP, UP, growth=steady, normalised=BREAKS)
    assert not has_terminal_expansion(found)
    words = terminal_expansion_in_words(found)
    assert "a terminal expansion is not shown, for it is not shown that the last step" in words
    assert "They grow at every layer from 1 on" in words
    assert "the largest step is that to layer 1, +6.0" in words


def test_where_only_the_last_layer_differs_the_place_is_certain():
    only = planted([0, 0, 0, 5], first=3)
    found = last(UP, UP, UP, growth=only, normalised=only)
    assert has_terminal_expansion(found)
    assert "in the last layer only: below it the models are identical" in (
        terminal_expansion_in_words(found)
    )
    one_block = planted([0, 5])
    words = terminal_expansion_in_words(last(UP, UP, UP, growth=one_block, normalised=one_block))
    assert "whether that is terminal cannot be told: the model has one block" in words
    nothing = planted([0, 0, 0], first=None)
    words = terminal_expansion_in_words(last(OPEN, OPEN, OPEN, growth=nothing, normalised=nothing))
    assert words == (
        "No hidden state differs between the models at any layer: there is no expansion."
    )


def test_the_sentence_gives_the_numbers():
    words = terminal_expansion_in_words(last(OPEN, None, Bounded(9.0, None, None)))
    assert (
        "block_output +1.0 [-3.0, +4.0] (not shown); rms_normalised undefined; "
        "post_final_norm +9.0 (no interval to rely on, not shown)."
    ) in words
    assert "artefact" not in words
    assert "-8.0 [-12.0, -2.0] (contraction)" in terminal_expansion_in_words(last(DOWN, UP, UP))


def test_an_interval_that_touches_zero_shows_nothing():
    edge = Bounded(2.0, 0.0, 4.0)
    words = terminal_expansion_in_words(last(edge, UP, UP))
    assert "not in block_output" in words
