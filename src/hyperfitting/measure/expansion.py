"""Is there a terminal expansion? What the last layer's dimensions show, in words. Pure."""

from typing import NamedTuple

from hyperfitting.measure.intervals import Bounded
from hyperfitting.measure.regions import is_above
from hyperfitting.measure.trend import NO_LAYER, ONLY_LAST, Trend


class LastLayer(NamedTuple):
    """delta_dim of layer L in each space, and the steps of the layers where there are several."""

    block_output: Bounded | None
    rms_normalised: Bounded | None
    post_final_norm: Bounded | None
    growth: Trend  # of block_output
    growth_normalised: Trend

    @property
    def spaces(self) -> dict[str, Bounded | None]:
        """The change at every tap, by its name."""
        return {name: getattr(self, name) for name in self._fields[:3]}


def has_terminal_expansion(last: LastLayer) -> bool:
    """Whether delta_dim of layer L is above 0 in all three spaces, and more than a trend.

    Definitions, section 6.1. Where layers can be compared, which is before the final norm, the
    step to layer L has to be larger than the mean of the steps before it; where no layer but L
    differs, there is no trend, and the place is certain.
    """
    return all(is_above(tap, 0.0) for tap in last.spaces.values()) and all(
        map(_stands_out, (last.growth, last.growth_normalised))
    )


def terminal_expansion_in_words(last: LastLayer) -> str:
    """Whether the dimensions of layer L grow in each space, and more than a trend, in sentences.

    An expansion appears in a space if the whole interval of delta_dim lies above 0, and is not
    shown there if the interval contains 0 or is missing; one that appears after the final norm
    only is called a normalisation artefact. Whether it is *terminal* is a matter of the steps
    between the layers, see `has_terminal_expansion`.
    """
    spaces, growth = last.spaces, last.growth
    numbers = "; ".join(f"{name} {_finding(value)}" for name, value in spaces.items())
    shown = [name for name, value in spaces.items() if is_above(value, 0.0)]
    if growth.reason == NO_LAYER:
        return "No hidden state differs between the models at any layer: there is no expansion."
    if len(shown) == len(spaces):
        verdict = _of_the_trend(growth, last.growth_normalised)
    elif shown == ["post_final_norm"]:
        verdict = "The expansion appears in post_final_norm only: a normalisation artefact"
    elif shown:
        missing = " and ".join(name for name in spaces if name not in shown)
        verdict = (
            f"A terminal expansion is not shown: the dimensions of the last layer grow in "
            f"{' and '.join(shown)} but not in {missing}"
        )
    else:
        verdict = "A terminal expansion is not shown in any space"
    steps = f" {_steps_in_words(growth)}" if shown and len(growth.steps) > 1 else ""
    return f"{verdict}. Change in dimensions at the last layer: {numbers}.{steps}"


def _of_the_trend(growth: Trend, growth_normalised: Trend) -> str:
    """The verdict where the last layer's dimensions grow in all three spaces."""
    if growth.reason == ONLY_LAST:
        return (
            "The expansion is there in all three spaces, and in the last layer only: below it the "
            "models are identical"
        )
    grow = "The dimensions of the last layer grow in all three spaces"
    if growth.last_minus_others is None:
        return f"{grow}; whether that is terminal cannot be told: {growth.reason}"
    sizes = (
        f"block_output {_range(growth.last_minus_others)}; "
        f"rms_normalised {_range(growth_normalised.last_minus_others)}"
    )
    larger = "the last step is larger than the mean of the others"
    if _stands_out(growth) and _stands_out(growth_normalised):
        return f"{grow}, and {larger}, a terminal expansion: {sizes}"
    return (
        f"{grow}, but a terminal expansion is not shown, for it is not shown that {larger}: {sizes}"
    )


def _stands_out(growth: Trend) -> bool:
    return is_above(growth.last_minus_others, 0.0) or growth.reason == ONLY_LAST


def _steps_in_words(growth: Trend) -> str:
    """At how many layers the dimensions grow, and where most."""
    count, last = len(growth.steps), growth.first + len(growth.steps) - 1
    grows = (
        f"They grow at every layer from {growth.first} on"
        if growth.growing == count
        else f"They grow from one layer to the next in {growth.growing} of {count} steps"
    )
    largest = growth.steps[growth.largest - growth.first]
    where = "the last" if growth.largest == last else f"that to layer {growth.largest}"
    return f"{grows} (block_output); the largest step is {where}, {_range(largest)}."


def _finding(estimate: Bounded | None) -> str:
    if estimate is None:
        return "undefined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.1f} (no interval to rely on, not shown)"
    word = "expansion" if estimate.low > 0 else "contraction" if estimate.high < 0 else "not shown"
    return f"{_range(estimate)} ({word})"


def _range(estimate: Bounded | None) -> str:
    if estimate is None:
        return "undefined"
    value, low, high = estimate
    if low is None or high is None:
        return f"{value:+.1f} (no interval to rely on)"
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
