"""Every decoder: its parameters, its source, and what carries it out.

The table is read without loading a model or torch. `specs.py` reads what a user writes, `run.py`
carries a decoder out. Reports name an arm `ARM+DECODER` and keep the parameters as fields
(definitions, sections 1.1 and 8.7).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# filter: cuts or changes the distribution that is drawn from. penalty: changes the logits and
# leaves decoding greedy. alone: combines with nothing.
Kind = Literal["filter", "penalty", "alone"]


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
        """Whether `value` is in the range, and whole where it must be."""
        above = value > self.low or (self.has_low and value == self.low)
        below = value < self.high or (self.has_high and value == self.high)
        whole = not self.is_integer or value % 1 == 0
        return math.isfinite(value) and above and below and whole


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """One line of the table."""

    parameters: tuple[Parameter, ...] = ()
    is_deterministic: bool
    kind: Kind = "alone"
    made_by: str  # the class or function that does it
    source: str  # of the rule and, after the semicolon, of the defaults


def _filter(name: str, *, low: float = 0.0, made_by: str, source: str, default: float,
            high: float = math.inf, has_low: bool = False, has_high: bool = False,
            is_integer: bool = False, meaning: str, kind: Kind = "filter") -> Decoder:  # fmt: skip
    """A decoder with one parameter of its own name."""
    parameter = Parameter(
        name=name, default=default, low=low, high=high, has_low=has_low, has_high=has_high,
        is_integer=is_integer, meaning=meaning,
    )  # fmt: skip
    return Decoder(
        parameters=(parameter,), is_deterministic=kind == "penalty", kind=kind,
        made_by=made_by, source=source,
    )  # fmt: skip


_TEMPERATURE = Parameter(name="temperature", default=1.0, low=0, meaning="divides the logits")

DECODERS: Mapping[str, Decoder] = {
    "greedy": Decoder(
        is_deterministic=True,
        made_by="choose.greedy",
        source="the largest float32 logit, the smallest id among equals",
    ),
    "beam": Decoder(
        parameters=(
            Parameter(name="beams", default=5, low=2, has_low=True, high=100, has_high=True,
                      is_integer=True, meaning="continuations kept"),
            Parameter(name="length_penalty", default=1.0, low=-math.inf,
                      meaning="power of the length that a score is divided by"),
        ),
        is_deterministic=True,
        made_by="transformers generate(num_beams=)",
        source="transformers; number of beams ours",
    ),
    "temperature": _filter(
        "temperature", default=1.0, meaning="divides the logits",
        made_by="transformers TemperatureLogitsWarper", source="plain sampling; T = 1",
    ),
    "top_k": _filter(
        "top_k", default=50, low=1, has_low=True, is_integer=True,
        meaning="most probable tokens kept",
        made_by="transformers TopKLogitsWarper",
        source="Fan et al., arXiv 1805.04833; 50 in GUARD's comparison",
    ),
    "top_p": _filter(
        "top_p", default=0.9, high=1, has_high=True, meaning="probability kept at least",
        made_by="transformers TopPLogitsWarper",
        source="Holtzman et al., arXiv 1904.09751; 0.9 in Carlsson et al., arXiv 2412.04318",
    ),
    "min_p": _filter(
        "min_p", default=0.1, high=1, has_high=True, meaning="share of the largest probability",
        made_by="transformers MinPLogitsWarper",
        source="Nguyen et al., ICLR 2025; 0.05 and 0.1 are common",
    ),
    "top_n_sigma": _filter(
        "top_n_sigma", default=1.0, meaning="standard deviations below the largest logit",
        made_by="filters.TopNSigma", source="Tang et al., arXiv 2411.07641; 1.0 there",
    ),
    "typical": _filter(
        "typical", default=0.9, high=1, meaning="probability kept at least",
        made_by="transformers TypicalLogitsWarper",
        source="Meister et al., arXiv 2202.00666; 0.9 in transformers' class",
    ),
    "eta": _filter(
        "eta", default=3e-4, high=1, meaning="least probability, less where entropy is high",
        made_by="transformers EtaLogitsWarper",
        source="Hewitt et al., arXiv 2210.15191; the low end of its range",
    ),
    "epsilon": _filter(
        "epsilon", default=3e-4, high=1, meaning="least probability",
        made_by="transformers EpsilonLogitsWarper",
        source="Hewitt et al., arXiv 2210.15191; the low end of its range",
    ),
    "mirostat": Decoder(
        parameters=(
            Parameter(name="tau", default=5.0, low=0, meaning="surprise aimed at, in bits"),
            Parameter(name="eta", default=0.1, low=0, meaning="rate of its correction"),
            _TEMPERATURE,
        ),
        is_deterministic=False,
        made_by="mirostat.Mirostat",
        source="Basu et al., arXiv 2007.14966, version 2; defaults of llama.cpp",
    ),
    "repetition_penalty": _filter(
        "repetition_penalty", default=1.2, kind="penalty",
        meaning="divides positive logits of seen tokens, multiplies negative ones; 1 is off",
        made_by="transformers RepetitionPenaltyLogitsProcessor",
        source="Keskar et al., arXiv 1909.05858; about 1.2 there",
    ),
    "no_repeat_ngram": _filter(
        "no_repeat_ngram", default=3, low=2, has_low=True, is_integer=True, kind="penalty",
        meaning="length of the token runs that occur once, context included",
        made_by="transformers NoRepeatNGramLogitsProcessor",
        source="Paulus et al., arXiv 1705.04304; 3 there",
    ),
    "contrastive_search": Decoder(
        parameters=(
            Parameter(name="alpha", default=0.6, low=0, high=1, has_low=True, has_high=True,
                      meaning="weight of the likeness to earlier tokens"),
            Parameter(name="k", default=10, low=1, has_low=True, is_integer=True,
                      meaning="candidates"),
        ),
        is_deterministic=True,
        made_by="contrastive.contrastive_search",
        source="Su et al., arXiv 2202.06417, 2210.14140; 0.6 and 10 in GUARD's comparison",
    ),
    "adaptive_contrastive_search": Decoder(
        parameters=(
            Parameter(name="q", default=1.0, low=0, meaning="how strongly entropy acts"),
        ),
        is_deterministic=True,
        made_by="contrastive.contrastive_search with contrastive.Adaptive",
        source="Garces Arias et al., arXiv 2407.18698; q = 1 in its code, 8 in its README",
    ),
    "guard": Decoder(
        parameters=(
            Parameter(name="window", default=7, low=2, has_low=True, is_integer=True,
                      meaning="recent steps"),
            Parameter(name="decay", default=0.95, low=0, high=1, has_high=True,
                      meaning="weight of a step against the next one in the global entropy"),
            _TEMPERATURE,
        ),
        is_deterministic=False,
        made_by="guard.Guard",
        source="Ding et al., arXiv 2508.20757; w 7 and 0.95 in its README",
    ),
    "contrastive_decoding": Decoder(
        parameters=(
            Parameter(name="alpha", default=0.1, low=0, high=1, has_high=True,
                      meaning="share of the largest probability that a token needs"),
            Parameter(name="amateur_temperature", default=1.0, low=0,
                      meaning="divides the amateur's logits"),
        ),
        is_deterministic=True,
        made_by="contrastive_decoding.Contrast",
        source="Li et al., arXiv 2210.15097; 0.1, and 0.5 or 1.0, there",
    ),
    "top_h": _filter(
        "top_h", default=0.4, high=1, has_high=True,
        meaning="share of the entropy of the 100 best tokens",
        made_by="transformers TopHLogitsWarper",
        source="arXiv 2509.02510; 0.4 in transformers' example",
    ),
}  # fmt: skip

# min-k (arXiv 2604.11012) is left out: its rule was not found stated precisely enough.
