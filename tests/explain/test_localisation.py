"""What block swap says, on curves whose answer is known."""

import numpy as np
import pytest

from hyperfitting.explain.localisation import (
    ENOUGH,
    agreement_in_words,
    share_of_gain,
    smallest_sufficient,
    swap_in_words,
)

L = 6


@pytest.mark.parametrize("seed", range(5))
def test_a_share_is_where_a_point_lies_between_two(seed):
    rng = np.random.default_rng(seed)
    original, tuned, share = rng.uniform(0, 1, 3)
    ttr = original + share * (tuned - original)
    assert share_of_gain(ttr, original, tuned) == pytest.approx(share)
    assert share_of_gain(original, original, tuned) == 0
    assert share_of_gain(tuned, original, tuned) == 1
    assert share_of_gain(ttr, tuned, original) == pytest.approx(1 - share), "the way back"
    assert share_of_gain(ttr, original, original) is None


def step(first, low=0.2, high=0.8):
    """TTR jumps where `first` blocks are taken over."""
    return {j: high if j >= first else low for j in range(L + 1)}


@pytest.mark.parametrize("first", range(L + 1))
def test_the_first_sufficient_number_of_a_step(first):
    assert smallest_sufficient(step(first), original=0.2, tuned=0.8) == first
    falling = {j: 1 - ttr for j, ttr in step(first).items()}
    assert smallest_sufficient(falling, original=0.8, tuned=0.2) == first, "a gain may be negative"


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_sufficient_number_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    ttr = dict(enumerate(rng.uniform(0.2, 0.8, L + 1)))
    ttr = {j: ttr[j] for j in rng.permutation(L + 1)}
    enough = rng.uniform(0.1, 0.9)
    good = [
        j for j in range(L + 1)
        if all((ttr[i] - 0.2) / 0.6 >= enough for i in range(j, L + 1))
    ]  # fmt: skip
    expected = min(good, default=None)
    assert smallest_sufficient(ttr, original=0.2, tuned=0.8, enough=enough) == expected


def test_a_number_that_later_ones_undo_is_not_sufficient():
    ttr = step(2) | {4: 0.2}
    assert smallest_sufficient(ttr, original=0.2, tuned=0.8) == 5
    assert smallest_sufficient(step(2) | {L: 0.2}, original=0.2, tuned=0.8) is None
    assert smallest_sufficient({}, original=0.2, tuned=0.8) is None
    assert smallest_sufficient(step(2), original=0.5, tuned=0.5) is None


def test_enough_is_met_at_its_boundary():
    original, tuned = 0.0, 1.0
    for ttr, expected in ((ENOUGH, 3), (ENOUGH - 1e-9, None)):
        assert smallest_sufficient({3: ttr}, original=original, tuned=tuned) == expected


def words(tuned_upper, original_upper, original=0.2, tuned=0.8):
    return swap_in_words(tuned_upper, original_upper, original=original, tuned=tuned, num_blocks=L)


def test_sufficient_and_necessary_in_words():
    # The original's last 3 take the effect away where the tuned model's last 3 brought it.
    back = {j: 0.2 if j >= 3 else 0.8 for j in range(L + 1)}
    assert words(step(3), back) == (
        "The tuned model's last 3 of 6 blocks, on the original's lower blocks, bring at least 80% "
        "of the gain in TTR; the original's last 3 of 6 blocks on the tuned lower ones take it "
        "away."
    )
    assert words(step(0), back).startswith("The tuned model's final norm and head alone, on")
    none = words(dict.fromkeys(range(L + 1), 0.2), dict.fromkeys(range(L + 1), 0.8))
    assert none.startswith("No number of last blocks")
    assert none.endswith("no number of the original's last blocks takes as much away.")
    assert "no effect to locate" in words(step(3), back, original=0.5, tuned=0.5)


def test_words_count_all_blocks_where_only_some_sizes_were_swapped():
    assert "last 2 of 6 blocks" in words({1: 0.2, 2: 0.8}, {1: 0.8, 2: 0.2})


@pytest.mark.parametrize(
    ("needed", "expands", "verdict"),
    [
        (1, True, "they agree."),
        (0, True, "final norm and head alone: they agree."),
        (2, True, "late, but more than the last one."),
        (5, True, "they disagree, and the effect is not in the last block alone."),
        (2, False, "the effect is late without an expansion; they disagree."),
        (5, False, "neither places the effect in the last block."),
        (None, True, "block swap does not place the effect in the last blocks."),
        (None, False, "block swap does not place the effect in the last blocks."),
    ],
)
def test_geometry_beside_block_swap(needed, expands, verdict):
    found = agreement_in_words(needed=needed, num_blocks=L, has_terminal_expansion=expands)
    start = "Geometry shows terminal" if expands else "Geometry shows no terminal"
    assert found.startswith(start)
    assert found.endswith(verdict)
    if needed:
        assert f"last {needed} of 6 blocks" in found
