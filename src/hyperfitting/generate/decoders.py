"""Every decoder: its parameters, its source, and what carries it out.

The table is read without loading a model or torch. `specs.py` reads what a user writes, `run.py`
carries a decoder out. A new decoder is a file and its line here. Reports name an arm
`ARM+DECODER` and keep the parameters as fields (definitions, sections 1.1 and 8.7).
"""

import math
from collections.abc import Mapping
from typing import Literal

from hyperfitting.generate.decoder import Decoder, Parameter

_HERE, _THEIRS = "hyperfitting.generate", "transformers.generation.logits_process"


def _filter(name: str, *, default: float, low: float = 0.0, high: float = math.inf,
            has_low: bool = False, has_high: bool = False, is_integer: bool = False,
            meaning: str, rule: str, source: str, work: str, place: int = 3,
            kind: Literal["filter", "penalty"] = "filter") -> Decoder:  # fmt: skip
    """A decoder with one parameter of its own name."""
    parameter = Parameter(
        name=name, default=default, low=low, high=high, has_low=has_low, has_high=has_high,
        is_integer=is_integer, meaning=meaning,
    )  # fmt: skip
    return Decoder(
        kind=kind, parameters=(parameter,), is_deterministic=kind == "penalty", work=work,
        place=place, rule=rule, source=source,
    )  # fmt: skip


_TEMPERATURE = Parameter(name="temperature", default=1.0, low=0, meaning="divides the logits")

DECODERS: Mapping[str, Decoder] = {
    "greedy": Decoder(
        kind="chooser",
        is_deterministic=True,
        work=f"{_HERE}.choose:make_greedy",
        rule="the largest float32 logit, the smallest id among equals",
        source="ours",
    ),
    "beam": Decoder(
        kind="search",
        parameters=(
            Parameter(name="beams", default=5, low=2, has_low=True, high=100, has_high=True,
                      is_integer=True, meaning="continuations kept"),
            # Below -1 the scores of long texts fall under transformers' mark of no text, -1e9.
            Parameter(name="length_penalty", default=1.0, low=-1, has_low=True, high=10,
                      has_high=True, meaning="power of the length that a score is divided by"),
        ),
        is_deterministic=True,
        work=f"{_HERE}.beam:beam_search", feed=f"{_HERE}.beam:beam_feed_of",
        rule="continuations with the best mean log-likelihood, by transformers' search",
        source="transformers; number of beams ours",
    ),
    "temperature": _filter(
        "temperature", default=1.0, meaning="divides the logits",
        work=f"{_THEIRS}:TemperatureLogitsWarper", place=0,
        rule="logits / T",
        source="plain sampling; T = 1",
    ),
    "top_k": _filter(
        "top_k", default=50, low=1, has_low=True, is_integer=True,
        meaning="most probable tokens kept",
        work=f"{_THEIRS}:TopKLogitsWarper",
        rule="the k most probable",
        source="Fan et al., arXiv 1805.04833; 50 in GUARD's comparison",
    ),
    "top_p": _filter(
        "top_p", default=0.9, high=1, has_high=True, meaning="probability kept at least",
        work=f"{_THEIRS}:TopPLogitsWarper",
        rule="the fewest tokens with probability p",
        source="Holtzman et al., arXiv 1904.09751; 0.9 in Carlsson et al., arXiv 2412.04318",
    ),
    "min_p": _filter(
        "min_p", default=0.1, high=1, has_high=True, meaning="share of the largest probability",
        work=f"{_THEIRS}:MinPLogitsWarper",
        rule="at least p x the largest probability",
        source="Nguyen et al., ICLR 2025; 0.05 and 0.1 are common",
    ),
    "top_n_sigma": _filter(
        "top_n_sigma", default=1.0, meaning="standard deviations below the largest logit",
        work=f"{_HERE}.filters:TopNSigma", place=1,
        rule="logits within n standard deviations of the largest",
        source="Tang et al., arXiv 2411.07641; 1.0 there",
    ),
    "typical": _filter(
        "typical", default=0.9, high=1, meaning="probability kept at least",
        work=f"{_THEIRS}:TypicalLogitsWarper",
        rule="surprise nearest to the entropy, probability p in all",
        source="Meister et al., arXiv 2202.00666; 0.9 in transformers' class",
    ),
    "eta": _filter(
        "eta", default=3e-4, high=1, meaning="least probability, less where entropy is high",
        work=f"{_THEIRS}:EtaLogitsWarper", place=4,
        rule="a least probability that falls where entropy is high",
        source="Hewitt et al., arXiv 2210.15191; the low end of its range",
    ),
    "epsilon": _filter(
        "epsilon", default=3e-4, high=1, meaning="least probability",
        work=f"{_THEIRS}:EpsilonLogitsWarper",
        rule="a least probability",
        source="Hewitt et al., arXiv 2210.15191; the low end of its range",
    ),
    "min_k": _filter(
        "min_k", default=3.0, meaning="tau: tokens kept at least where logits lie within 1",
        work=f"{_HERE}.cuts:MinK", place=-1,
        rule="the k largest raw logits before their steepest fall, weighed by 1 / rank, at least "
        "tau / (largest - smallest)",
        source="arXiv 2604.11012; 3.0 there",
    ),
    "p_less": Decoder(
        kind="filter", is_deterministic=False,
        work=f"{_HERE}.cuts:PLess",
        rule="at least the sum of all squared probabilities",
        source="arXiv 2509.23234, which has no parameter",
    ),
    "xtc": Decoder(
        kind="filter",
        parameters=(
            Parameter(name="threshold", default=0.1, low=0, high=0.5, has_high=True,
                      meaning="probability from which a token counts as likely"),
            Parameter(name="probability", default=0.5, low=0, high=1, has_high=True,
                      meaning="of leaving likely tokens out at a step"),
        ),
        is_deterministic=False, needs=("seeds_N", "texts_V", "ends"),
        work=f"{_HERE}.xtc:Xtc", place=5,
        rule="at some steps none of the likely tokens but the least likely one; newlines and ends "
        "stay",
        source="llama.cpp, mlx-lm; 0.1 in llama.cpp, 0.5 is usual",
    ),
    "dynamic_temperature": Decoder(
        kind="filter",
        parameters=(
            Parameter(name="low", default=0.5, low=0, meaning="temperature of a sure token"),
            Parameter(name="high", default=1.5, low=0, meaning="temperature of equal tokens"),
            Parameter(name="exponent", default=1.0, low=0, meaning="of the entropy's share"),
        ),
        is_deterministic=False,
        work=f"{_HERE}.cuts:DynamicTemperature", place=0,
        rule="a temperature between two that rises with the entropy",
        source="llama.cpp; exponent 1 there, temperatures ours",
    ),
    "adaptive_p": Decoder(
        kind="filter",
        parameters=(
            Parameter(name="target", default=0.5, low=0, high=1, has_low=True, has_high=True,
                      meaning="probability that chosen tokens should have"),
            Parameter(name="decay", default=0.9, low=0, high=0.99, has_low=True, has_high=True,
                      meaning="weight of a step against the next one in the mean so far"),
        ),
        is_deterministic=False,
        work=f"{_HERE}.adaptive_p:AdaptiveP", place=6,
        rule="draws tokens whose probability is near a target, corrected by those drawn before",
        source="llama.cpp, PR 17927; decay 0.9 there, target ours",
    ),
    "mirostat": Decoder(
        kind="chooser",
        parameters=(
            Parameter(name="tau", default=5.0, low=0, meaning="surprise aimed at, in bits"),
            Parameter(name="eta", default=0.1, low=0, meaning="rate of its correction"),
            _TEMPERATURE,
        ),
        is_deterministic=False,
        work=f"{_HERE}.mirostat:Mirostat",
        rule="steers its surprise towards tau (version 2)",
        source="Basu et al., arXiv 2007.14966, version 2; defaults of llama.cpp",
    ),
    "repetition_penalty": Decoder(
        kind="penalty",
        parameters=(
            Parameter(name="repetition_penalty", default=1.2, low=0,
                      meaning="divides positive logits of seen tokens, multiplies negative ones; "
                      "1 is off"),
            Parameter(name="normalised", default=0, low=0, has_low=True, high=1, has_high=True,
                      is_integer=True, meaning="1: multiplies log-probabilities instead"),
        ),
        is_deterministic=True,
        work=f"{_HERE}.penalties:repetition_penalty",
        rule="seen tokens' logits divided or multiplied; `normalised=1`: their log-probabilities "
        "multiplied",
        source="Keskar et al., arXiv 1909.05858, in transformers; normalised: arXiv 2607.09791; "
        "about 1.2 there",
    ),
    "no_repeat_ngram": _filter(
        "no_repeat_ngram", default=3, low=2, has_low=True, is_integer=True, kind="penalty",
        meaning="length of the token runs that occur once, context included",
        work=f"{_THEIRS}:NoRepeatNGramLogitsProcessor",
        rule="no n-gram twice, context included",
        source="Paulus et al., arXiv 1705.04304; 3 there",
    ),
    "frequency": _filter(
        "frequency", default=0.5, kind="penalty",
        meaning="taken off a token's logit for each time that it was seen",
        work=f"{_HERE}.penalties:FrequencyPenalty",
        rule="logits minus a x how often the token was seen, context included",
        source="llama.cpp, mlx-lm; default ours",
    ),
    "presence": _filter(
        "presence", default=0.5, kind="penalty",
        meaning="taken off the logit of each token that was seen",
        work=f"{_HERE}.penalties:PresencePenalty",
        rule="logits minus a where the token was seen, context included",
        source="llama.cpp, mlx-lm; default ours",
    ),
    "dry": Decoder(
        kind="penalty",
        parameters=(
            Parameter(name="multiplier", default=0.8, low=0, high=1000, has_high=True,
                      meaning="penalty of a run of the allowed length"),
            Parameter(name="base", default=1.75, low=1, has_low=True, high=100, has_high=True,
                      meaning="how much each further token multiplies the penalty"),
            Parameter(name="allowed_length", default=2, low=1, has_low=True, is_integer=True,
                      meaning="tokens of the shortest run that is penalised"),
            Parameter(name="breakers", default=1, low=0, has_low=True, high=1, has_high=True,
                      is_integer=True,
                      meaning='1: tokens with a newline, :, " or * end a run; 0: none does'),
        ),
        is_deterministic=True, needs=("texts_V",),
        work=f"{_HERE}.dry:Dry",
        rule="logits minus m x b^(l - a) where the token would lengthen a run of l >= a tokens "
        "that the whole text has already",
        source="llama.cpp, PR 9702; its usual values",
    ),
    "stop": Decoder(
        kind="search",
        parameters=(
            Parameter(name="max_pattern_size", default=128, low=1, has_low=True, high=4096,
                      has_high=True, is_integer=True, meaning="tokens of the largest pattern"),
            Parameter(name="min_pattern_size", default=4, low=1, has_low=True, is_integer=True,
                      meaning="tokens of the smallest pattern"),
            Parameter(name="min_count", default=4, low=2, has_low=True, is_integer=True,
                      meaning="times in a row that end a text"),
        ),
        only_ends=True,
        is_deterministic=True,
        work=f"{_HERE}.stop:greedy_until_repetition",
        rule="greedy; a text that may end itself ends where its last tokens are one pattern "
        "several times",
        source="vLLM's repetition_detection, PR 35451; values recommended in its PR 52677",
    ),
    "contrastive_search": Decoder(
        kind="search",
        parameters=(
            Parameter(name="alpha", default=0.6, low=0, high=1, has_low=True, has_high=True,
                      meaning="weight of the likeness to earlier tokens"),
            Parameter(name="k", default=10, low=1, has_low=True, is_integer=True,
                      meaning="candidates"),
        ),
        is_deterministic=True,
        work=f"{_HERE}.contrastive:contrastive_search", feed=f"{_HERE}.feed:searching_feed_of",
        rule="probability against likeness to earlier states",
        source="Su et al., arXiv 2202.06417, 2210.14140; 0.6 and 10 in GUARD's comparison",
    ),
    "adaptive_contrastive_search": Decoder(
        kind="search",
        parameters=(
            Parameter(name="q", default=1.0, low=0, meaning="how strongly entropy acts"),
        ),
        is_deterministic=True,
        work=f"{_HERE}.contrastive:adaptive_contrastive_search",
        feed=f"{_HERE}.feed:searching_feed_of",
        rule="the same, k and weight from entropy",
        source="Garces Arias et al., arXiv 2407.18698; q = 1 in its code, 8 in its README",
    ),
    "guard": Decoder(
        kind="chooser",
        parameters=(
            Parameter(name="window", default=7, low=2, has_low=True, is_integer=True,
                      meaning="recent steps"),
            Parameter(name="decay", default=0.95, low=0, high=1, has_high=True,
                      meaning="weight of a step against the next one in the global entropy"),
            _TEMPERATURE,
        ),
        is_deterministic=False,
        work=f"{_HERE}.guard:Guard",
        rule="top-k whose k and penalty follow the text's entropy",
        source="Ding et al., arXiv 2508.20757; w 7 and 0.95 in its README",
    ),
    "contrastive_decoding": Decoder(
        kind="chooser",
        parameters=(
            Parameter(name="alpha", default=0.1, low=0, high=1, has_high=True,
                      meaning="share of the largest probability that a token needs"),
            Parameter(name="amateur_temperature", default=1.0, low=0,
                      meaning="divides the amateur's logits"),
        ),
        is_deterministic=True,
        work=f"{_HERE}.contrastive_decoding:Contrast", needs_amateur=True,
        rule="what the model likes more than an amateur (`amateur=MODEL`)",
        source="Li et al., arXiv 2210.15097; 0.1, and 0.5 or 1.0, there",
    ),
    "top_h": _filter(
        "top_h", default=0.4, high=1, has_high=True,
        meaning="share of the entropy of the 100 best tokens",
        work=f"{_THEIRS}:TopHLogitsWarper", place=2,
        rule="the most tokens whose entropy stays below a share",
        source="arXiv 2509.02510; 0.4 in transformers' example",
    ),
}  # fmt: skip
