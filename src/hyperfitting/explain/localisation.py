"""What block swap says, and whether geometry agrees, in plain words. Pure."""

from collections.abc import Mapping

ENOUGH = 0.8  # of the gain in TTR
LATE = 1 / 3  # of the blocks, counted from the end


def share_of_gain(ttr: float, original: float, tuned: float) -> float | None:
    """Where a TTR lies between the original's (0) and the tuned model's (1); None without gain.

    Any number: below 0 where it lies on the other side of the original, above 1 beyond the tuned.
    """
    return None if tuned == original else (ttr - original) / (tuned - original)


def smallest_sufficient(
    ttr: Mapping[int, float], *, original: float, tuned: float, enough: float = ENOUGH
) -> int | None:
    """The fewest last blocks from which on every hybrid has `enough` of the gain, or None.

    `ttr` maps numbers of last blocks to the TTR of the hybrid. None: the hybrid with the most
    blocks has too little, or there is no gain.
    """
    found = None
    for blocks in sorted(ttr, reverse=True):
        share = share_of_gain(ttr[blocks], original, tuned)
        if share is None or share < enough:
            return found
        found = blocks
    return found


def swap_in_words(
    tuned_upper: Mapping[int, float],
    original_upper: Mapping[int, float],
    *,
    original: float,
    tuned: float,
    num_blocks: int,
) -> str:
    """Two sentences: are the tuned model's last blocks sufficient, and are they necessary?

    The mappings give the mean TTR of the hybrid, in (0, 1], for numbers of last blocks in
    0..num_blocks; `original` and `tuned` are the TTRs of the models themselves. The final norm
    and the head always go with the upper part. Block swap is ours, not the paper's.
    """
    if tuned == original:
        return "The tuned model's TTR is the original's: there is no effect to locate."
    needed = smallest_sufficient(tuned_upper, original=original, tuned=tuned)
    if needed is None:
        first = "No number of last blocks on the original's lower ones brings most of the gain"
    else:
        first = (
            f"The tuned model's {_upper(needed, num_blocks)}, on the original's lower blocks, "
            f"bring at least {ENOUGH:.0%} of the gain in TTR"
        )
    undone = smallest_sufficient(original_upper, original=tuned, tuned=original)
    if undone is None:
        second = "no number of the original's last blocks takes as much away"
    else:
        second = f"the original's {_upper(undone, num_blocks)} on the tuned lower ones take it away"
    return f"{first}; {second}."


def _upper(blocks: int, num_blocks: int) -> str:
    """What a hybrid takes over; without a block, only what stands above all of them."""
    return f"last {blocks} of {num_blocks} blocks" if blocks else "final norm and head alone"


def agreement_in_words(*, needed: int | None, num_blocks: int, has_terminal_expansion: bool) -> str:
    """Whether geometry's answer (the last block) and block swap's (how many) agree.

    `needed` is that of `smallest_sufficient` for the tuned model's last blocks, in
    0..num_blocks. Geometry's is in definitions, section 6.5; the comparison is ours.
    """
    geometry = "shows" if has_terminal_expansion else "shows no"
    start = f"Geometry {geometry} terminal expansion at every tap"
    if needed is None:
        return f"{start}; block swap does not place the effect in the last blocks."
    place = f"block swap needs the {_upper(needed, num_blocks)}"
    is_late = needed <= max(1, num_blocks * LATE)
    if has_terminal_expansion and needed <= 1:
        return f"{start}, and {place}: they agree."
    if has_terminal_expansion and not is_late:
        return (
            f"{start}, but {place}: they disagree, and the effect is not in the last block alone."
        )
    if has_terminal_expansion:
        return f"{start}; {place}: late, but more than the last one."
    if is_late:
        return f"{start}, but {place}: the effect is late without an expansion; they disagree."
    return f"{start}, and {place}: neither places the effect in the last block."
