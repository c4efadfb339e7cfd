"""What block swap says, on curves whose answer is known."""

import numpy as np
import pytest

from hyperfitting.measure.gain import Gain, Share
from hyperfitting.measure.localisation import (
    ENOUGH,
    Located,
    Swapped,
    agreement_in_words,
    locate,
    swap_in_words,
)

L = 6
SHOWN = Gain(0.6, 0.5, 0.7, None)
NOT_SHOWN = Gain(0.002, -0.01, 0.014, "no gain is shown on these contexts")


def shares(values):
    return {blocks: Share(value, None, None, None) for blocks, value in values.items()}


def step(first, sizes=range(L + 1), low=0.0, high=1.0):
    """The whole effect from `first` blocks on."""
    return shares({j: high if j >= first else low for j in sizes})


@pytest.mark.parametrize("first", range(L + 1))
def test_the_first_sufficient_number_of_a_step(first):
    found = locate(step(first))
    assert (found.enough, found.too_few) == (first, first - 1 if first else None)
    assert found.least == first, "every number was tried, so the place is exact"


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_sufficient_number_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.permutation(L + 1)[: rng.integers(1, L + 2)].tolist()
    values = dict(zip(sizes, rng.uniform(0, 1.2, len(sizes)), strict=True))
    enough = rng.uniform(0.1, 0.9)
    good = [j for j in sizes if all(values[i] >= enough for i in sizes if i >= j)]
    found = locate(shares(values), enough=enough)
    assert found.enough == min(good, default=None)
    below = [j for j in sizes if found.enough is None or j < found.enough]
    assert found.too_few == max(below, default=None)


def test_a_number_that_later_ones_undo_is_not_sufficient():
    undone = step(2) | shares({4: 0.0})
    assert locate(undone).enough == 5
    assert locate(step(2) | shares({L: 0.0})).enough is None
    assert locate({}).enough is None
    assert locate({j: Share(None, None, None, "no gain") for j in range(3)}).enough is None


def test_enough_is_met_at_its_boundary():
    for value, expected in ((ENOUGH, 3), (ENOUGH - 1e-9, None)):
        assert locate(shares({3: value})).enough == expected


def words(brings, takes, found=SHOWN, differing=0.5, choices=None, blocks=L):
    nothing = Swapped(locate(step(0)), locate(step(0)))
    ttr = Swapped(locate(brings), locate(takes))
    return swap_in_words(ttr, choices or nothing, found, differing, num_blocks=blocks)


def test_sufficient_and_necessary_in_words():
    text = words(step(3), step(2))
    assert text.startswith(
        "The tuned model's last 3 of 6 blocks, on the original's lower blocks, bring all of the "
        "gain in TTR (2 are not enough, 0%); the original's last 2 of 6 blocks on the tuned lower "
        "ones take all away (1 is not enough, 0%)."
    )
    assert words(step(0), step(3)).startswith("The tuned model's final norm and head alone, on")
    none = words(step(9), step(9))
    assert none.startswith("No number of last blocks on the original's lower ones brings 80%")
    assert "(tried: 0, 1, 2, 3, 4, 5, 6 of 6)" in none
    assert "no number of the original's last blocks takes as much away" in none


def test_a_share_comes_with_its_interval_and_what_is_too_few():
    brings = {2: Share(0.31, 0.2, 0.44, None), 3: Share(0.84, 0.77, 0.91, None)}
    text = words(brings, step(3))
    assert "bring at least 80%, 84% [77%, 91%], of the gain" in text
    assert "(2 are not enough, 31% [20%, 44%])" in text


@pytest.mark.parametrize(
    ("sizes", "said", "least"),
    [
        ((0, 1, 3, 5, 12), "(5 are not enough, 0%; 6 to 11 were not tried)", 6),
        ((10, 12), "(10 are not enough, 0%; 11 was not tried)", 11),
        ((12,), "(0 to 11 were not tried)", 0),
        (range(13), "(11 are not enough, 0%)", 12),
    ],
)
def test_numbers_that_were_not_tried_are_said_and_not_claimed(sizes, said, least):
    brings = step(12, sizes)
    text = words(brings, brings, blocks=12)
    assert text.count(said) == 2
    assert "last 12 of 12 blocks" in text
    assert locate(brings).least == least


def test_without_a_gain_the_choices_are_placed_and_no_share_of_a_gain_is_spoken_of():
    choices = Swapped(locate(step(4)), locate(step(4)))
    text = words(step(1), step(1), found=NOT_SHOWN, differing=0.88, choices=choices)
    assert text == (
        "No gain in TTR to locate: tuned minus original +0.002 [-0.010, +0.014], no gain is shown "
        "on these contexts. On human text the models choose differently at 88% of the positions. "
        "The tuned model's last 4 of 6 blocks, on the original's lower blocks, bring all of the "
        "change in choices (3 are not enough, 0%); the original's last 4 of 6 blocks on the tuned "
        "lower ones take all away (3 are not enough, 0%)."
    )
    assert "no effect to locate" in words(step(1), step(1), found=NOT_SHOWN, differing=0)
    assert "choose alike at every position" in words(step(1), step(1), differing=0)


def placed(enough, too_few=None):
    return Located(enough, enough - 1 if too_few is None and enough else too_few, {})


@pytest.mark.parametrize(
    ("needed", "expands", "verdict"),
    [
        (1, True, "they agree."),
        (0, True, "final norm and head alone (TTR): they agree."),
        (2, True, "late, but more than the last one."),
        (5, True, "they disagree, and the effect is not in the last block alone."),
        (2, False, "the effect is late without an expansion; they disagree."),
        (5, False, "neither places the effect in the last block."),
    ],
)
def test_geometry_beside_block_swap(needed, expands, verdict):
    found = agreement_in_words(placed(needed), "TTR", num_blocks=L, has_terminal_expansion=expands)
    assert found.startswith(
        "Geometry shows a terminal" if expands else "Geometry shows no terminal"
    )
    assert found.endswith(verdict)
    if needed:
        assert f"last {needed} of 6 blocks (TTR)" in found


@pytest.mark.parametrize("expands", [True, False])
def test_geometry_beside_a_swap_that_places_nothing(expands):
    nowhere = Located(None, 6, {})
    found = agreement_in_words(nowhere, "choices", num_blocks=L, has_terminal_expansion=expands)
    assert found.endswith("does not place the effect (choices) in the last blocks.")
    one = agreement_in_words(placed(1), "TTR", num_blocks=1, has_terminal_expansion=expands)
    assert one == "A model of one block has no other layer to place an effect in."


def test_numbers_that_were_not_tried_decide_nothing():
    """If 5 are not enough the effect is not late; if only 1 is known not to be, it may be."""
    far = agreement_in_words(placed(12, 5), "TTR", num_blocks=12, has_terminal_expansion=False)
    assert "needs 6 to 12 of the last 12 blocks (TTR): neither" in far
    open_ = agreement_in_words(placed(12, 1), "TTR", num_blocks=12, has_terminal_expansion=False)
    assert open_.endswith("the numbers that were not tried decide whether they agree.")
