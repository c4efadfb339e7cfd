"""What block swap says, and whether geometry agrees, in plain words. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from hyperfitting.measure.gain import Gain, Share, no_gain_in_words

ENOUGH = 0.8  # of the way from the model of the lower blocks to that of the upper ones
LATE = 1 / 3  # of the blocks, counted from the end


class Located(NamedTuple):
    """The fewest last blocks tried that are enough, and the most tried below that are not.

    `enough` is None where no number tried is; `too_few` where no smaller number was tried.
    What was not tried in between is not known.
    """

    enough: int | None
    too_few: int | None
    shares: Mapping[int, Share]

    @property
    def least(self) -> int:
        """The smallest number of blocks that may be enough; only where one is."""
        return 0 if self.too_few is None else self.too_few + 1


class Swapped(NamedTuple):
    """Where the tuned model's last blocks bring its effect, and where the original's undo it."""

    brings: Located
    takes: Located


def locate(shares: Mapping[int, Share], *, enough: float = ENOUGH) -> Located:
    """The fewest last blocks from which on every hybrid has `enough` of the effect.

    `shares` maps the numbers of last blocks that were tried to the part of the way that the
    hybrid has gone from the model below (0) to the model above (1). An undefined share is not
    enough.
    """
    found = None
    for blocks in sorted(shares, reverse=True):
        value = shares[blocks].value
        if value is None or value < enough:
            break
        found = blocks
    below = [blocks for blocks in shares if found is None or blocks < found]
    return Located(found, max(below, default=None), shares)


def swap_in_words(
    ttr: Swapped, choices: Swapped, found: Gain, differing: float, *, num_blocks: int
) -> str:
    """Are the tuned model's last blocks sufficient, and are they necessary? In sentences.

    First by TTR, where `found` shows a gain on these contexts; then by the choices on human
    text, at whose positions the models differ in a share `differing`, which places an effect
    without a difference in TTR as well. The final norm and the head always go with the upper
    part. Block swap is ours, not the paper's.
    """
    if found.reason is not None and differing == 0:
        return (
            f"{no_gain_in_words(found)}; both models choose alike at every position of the human "
            "text: there is no effect to locate."
        )
    sentences = [no_gain_in_words(found) or _placed(ttr, num_blocks, "of the gain in TTR")]
    if differing == 0:
        sentences.append("Both models choose alike at every position of the human text")
    else:
        sentences.append(
            f"On human text the models choose differently at {_percent(differing)} of the positions"
        )
        sentences.append(_placed(choices, num_blocks, "of the change in choices"))
    return ". ".join(sentences) + "."


def _placed(swapped: Swapped, num_blocks: int, of: str) -> str:
    """Whether the last blocks bring an effect, and whether the original's take it away."""
    brings, takes = swapped
    if brings.enough is None:
        first = (
            f"No number of last blocks on the original's lower ones brings {ENOUGH:.0%} {of}"
            f"{_tried(brings, num_blocks)}"
        )
    else:
        first = (
            f"The tuned model's {_upper(brings.enough, num_blocks)}, on the original's lower "
            f"blocks, {'bring' if brings.enough != 1 else 'brings'} "
            f"{_amount(brings)} {of}{_tried(brings, num_blocks)}"
        )
    if takes.enough is None:
        second = (
            f"no number of the original's last blocks takes as much away{_tried(takes, num_blocks)}"
        )
    else:
        second = (
            f"the original's {_upper(takes.enough, num_blocks)} on the tuned lower ones "
            f"{'take' if takes.enough != 1 else 'takes'} {_amount(takes)} away"
            f"{_tried(takes, num_blocks)}"
        )
    return f"{first}; {second}"


def _amount(located: Located) -> str:
    """How much the number of blocks that is enough brings: all of it, or a share."""
    assert located.enough is not None
    found = located.shares[located.enough]
    return "all" if found.value == 1 else f"at least {ENOUGH:.0%}, {share_in_words(found)},"


def _tried(located: Located, num_blocks: int) -> str:
    """What is known of fewer blocks, and which numbers were not tried; in brackets, or empty."""
    parts = []
    if located.enough is None:
        sizes = ", ".join(map(str, sorted(located.shares)))
        return f" (tried: {sizes} of {num_blocks})" if sizes else " (none was tried)"
    if located.too_few is not None:
        value = located.shares[located.too_few]
        fewer = {0: "final norm and head alone are", 1: "1 is"}
        name = fewer.get(located.too_few, f"{located.too_few} are")
        parts.append(f"{name} not enough, {share_in_words(value)}")
    gap = range(located.least, located.enough)
    if len(gap) == 1:
        parts.append(f"{gap[0]} was not tried")
    elif gap:
        parts.append(f"{gap[0]} to {gap[-1]} were not tried")
    return f" ({'; '.join(parts)})" if parts else ""


def share_in_words(found: Share) -> str:
    """A share in per cent with its interval."""
    if found.value is None:
        return "undefined"
    bounds = "" if found.low is None or found.high is None else (
        f" [{_percent(found.low)}, {_percent(found.high)}]"
    )  # fmt: skip
    return f"{_percent(found.value)}{bounds}"


def _percent(share: float) -> str:
    """Per cent without decimals, but never 0 or 100 for what is not."""
    text = f"{share:.0%}"
    is_rounded_off = (text in ("0%", "-0%") and share) or (text == "100%" and share != 1)
    return f"{share:.1%}" if is_rounded_off else text


def _upper(blocks: int, num_blocks: int) -> str:
    """What a hybrid takes over; without a block, only what stands above all of them."""
    return f"last {blocks} of {num_blocks} blocks" if blocks else "final norm and head alone"


def agreement_in_words(
    located: Located, outcome: str, *, num_blocks: int, has_terminal_expansion: bool
) -> str:
    """Whether geometry's answer (the last block) and block swap's (how many) agree.

    `located` is of the tuned model's last blocks, by the `outcome` named. Geometry's answer is
    in definitions, section 6.5; the comparison is ours. Where numbers of blocks were not tried,
    only what holds for all of them is said.
    """
    if num_blocks == 1:
        return "A model of one block has no other layer to place an effect in."
    geometry = "shows a" if has_terminal_expansion else "shows no"
    start = f"Geometry {geometry} terminal expansion"
    if located.enough is None:
        return f"{start}; block swap does not place the effect ({outcome}) in the last blocks."
    least, most = located.least, located.enough
    place = f"block swap needs the {_upper(most, num_blocks)} ({outcome})"
    if least < most:
        place = f"block swap needs {least} to {most} of the last {num_blocks} blocks ({outcome})"
    bound = max(1, num_blocks * LATE)
    if least <= bound < most or (has_terminal_expansion and least <= 1 < most):
        return f"{start}; {place}: the numbers that were not tried decide whether they agree."
    is_late = most <= bound
    if has_terminal_expansion and most <= 1:
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
