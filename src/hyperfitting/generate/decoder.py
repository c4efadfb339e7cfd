"""What a line of the table of decoders holds; the table itself is `decoders.py`."""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

# filter: cuts or changes the distribution that is drawn from. penalty: changes the logits and
# leaves decoding greedy. These combine; the others do not. chooser: takes a token from each row of
# logits. search: decodes whole texts.
Kind = Literal["filter", "penalty", "chooser", "search"]
# What a filter or penalty may be given beside its parameters: a seed for each row, the text of
# each token, the tokens that end a text.
Need = Literal["seeds_N", "texts_V", "ends"]


# Sizes of numbers that logits of float32 can be multiplied with and divided by.
SMALLEST, LARGEST = 1e-20, 1e20
MOST = 2**31 - 1  # of what is counted


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One number of a decoder, between `low` and `high`."""

    name: str
    default: float
    low: float
    high: float = math.inf
    has_low: bool = False  # whether the bound itself is allowed
    has_high: bool = False
    is_integer: bool = False
    meaning: str

    @property
    def range(self) -> str:
        """The allowed values, such as `a number in (0, 1]`."""
        kind = "a whole number" if self.is_integer else "a number"
        left = "[" if self.has_low else "("
        right = "]" if self.has_high else ")"
        return f"{kind} in {left}{self.low:g}, {self.high:g}{right}"

    def allows(self, value: float) -> bool:
        """Whether `value` is in the range, of a size to compute with, and whole where it must."""
        above = value > self.low or (self.has_low and value == self.low)
        below = value < self.high or (self.has_high and value == self.high)
        whole = not self.is_integer or value % 1 == 0
        finite = math.isfinite(value)
        return finite and self.has_size(value) and above and below and whole

    @property
    def sizes(self) -> tuple[float, float]:
        """From and up to which size a number that is not 0 can be computed with."""
        return (1, MOST) if self.is_integer else (SMALLEST, LARGEST)

    def has_size(self, value: float) -> bool:
        """Whether a number can be computed with."""
        smallest, largest = self.sizes
        return value == 0 or smallest <= abs(value) <= largest


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """One line of the table.

    `work` is the `module:name` of what does it, called with the values of a filter or penalty in
    the order of `parameters`, and with what it `needs`, for a logits processor; with the
    parameters (and `seeds_N` where it draws, `amateur` where it needs one) for a `Chooser`; with
    the model, contexts, parameters and options of `decode` to search.
    `feed` is the `module:name` of how a model is fed for it. Filters are applied by rising
    `place`, those of one place as the table lists them. Filters and penalties share one mapping
    of parameters, so no two of them have a parameter of one name.
    """

    kind: Kind
    parameters: tuple[Parameter, ...] = ()
    is_deterministic: bool
    needs_amateur: bool = False
    only_ends: bool = False  # greedy, but for where a text ends
    needs: tuple[Need, ...] = ()
    work: str
    feed: str = "hyperfitting.generate.feed:feed_of"
    place: int = 3
    rule: str
    source: str  # of the rule and, after the semicolon, of the defaults

    @property
    def combines(self) -> bool:
        """Whether other filters and penalties may stand beside it."""
        return self.kind in ("filter", "penalty")


def load(name: str) -> Any:
    """The object that a `module:name` of the table stands for; its module is imported now."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
