"""Regions of layers as found, and the sentences about them."""

import pytest

from hyperfitting.explain.geometry import Estimate
from hyperfitting.explain.regions import (
    regions,
    regions_in_words,
    terminal_expansion_in_words,
)

UP, DOWN, OPEN = Estimate(8.0, 2.0, 12.0), Estimate(-8.0, -12.0, -2.0), Estimate(1.0, -3.0, 4.0)


def test_the_three_regions_of_the_paper():
    found = regions([1, 0.95, 0.86, 0.7, 0.9, 0.5], [0, 1, -1, -2, -3, 80], [0, 1, 2, 3, 22, 81.6])
    assert found.stable == (0, 1, 2)
    assert found.compression == (3, 4)
    assert found.terminal == 5
    assert found.l2_jump == pytest.approx(81.6 / 22)
    assert regions_in_words(found).splitlines() == [
        "Stable (cosine at least 0.86 from layer 0 on): layers 0-2.",
        "Compression (later, delta_dim below 0): layers 3-4.",
        "Terminal (last layer, delta_dim above 0 and l2 rising): layer 5.",
    ]


@pytest.mark.parametrize(
    ("delta", "l2"), [(0.0, 5.0), (-1.0, 5.0), (None, 5.0), (3.0, 2.0), (3.0, None)]
)
def test_no_terminal_region_without_both_conditions(delta, l2):
    assert regions([1, 1, 1], [0, 0, delta], [0, 2, l2]).terminal is None
    assert regions([1, 1, 1], [0, 0, 3.0], [0, 2, 5.0]).terminal == 2


def test_nothing_is_forced_on_the_data():
    found = regions([0.5, 0.9, 0.9, 0.9], [-1, 2, -3, -1], [0, 0, 0, 0])
    assert found == ((), (0, 2, 3), None, None)
    words = regions_in_words(found)
    assert "from layer 0 on): none." in words
    assert "layers 0, 2-3." in words


def test_undefined_values_fulfil_no_condition():
    nan = float("nan")
    assert regions([1, None, 1], [0, nan, None], [0, 1, nan]) == ((0,), (), None, None)
    assert regions([1, nan, 1], [0, -1, -1], [0, 1, 2]).stable == (0,)


def test_regions_need_lists_of_one_length():
    with pytest.raises(ValueError, match="3, 2, 3"):
        regions([1, 1, 1], [0, 0], [0, 0, 0])
    with pytest.raises(ValueError, match="1, 1, 1"):
        regions([1], [0], [0])


@pytest.mark.parametrize(
    ("taps", "start"),
    [
        ((UP, UP, UP), "The terminal expansion survives in all three spaces."),
        (
            (DOWN, OPEN, UP),
            "The terminal expansion appears in post_final_norm only: a normalisation artefact.",
        ),
        (
            (UP, OPEN, UP),
            "The terminal expansion appears in block_output and post_final_norm but not in "
            "rms_normalised, so it is not shown.",
        ),
        ((OPEN, None, DOWN), "A terminal expansion is not shown in any space."),
    ],
)
def test_terminal_expansion_in_each_space(taps, start):
    names = ("block_output", "rms_normalised", "post_final_norm")
    assert terminal_expansion_in_words(**dict(zip(names, taps, strict=True))).startswith(start)


def test_the_sentence_gives_the_numbers():
    words = terminal_expansion_in_words(
        block_output=OPEN, rms_normalised=None, post_final_norm=Estimate(9.0, None, None)
    )
    assert words.endswith(
        "block_output +1.0 [-3.0, +4.0] (not shown); rms_normalised undefined; "
        "post_final_norm +9.0 (no interval, not shown)."
    )
    assert "artefact" not in words
    assert "-8.0 [-12.0, -2.0] (contraction)" in terminal_expansion_in_words(
        block_output=DOWN, rms_normalised=UP, post_final_norm=UP
    )


def test_an_interval_that_touches_zero_shows_nothing():
    edge = Estimate(2.0, 0.0, 4.0)
    words = terminal_expansion_in_words(block_output=edge, rms_normalised=UP, post_final_norm=UP)
    assert "not in block_output" in words
