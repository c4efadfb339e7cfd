"""What `hyperfit explain` found, as records."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hyperfitting.records import Arm

RANK_CLASSES = ("rank_1", "rank_2_10", "rank_11_200", "rank_gt_200")
BLOCK_OUTPUT, RMS_NORMALISED, FINAL_NORM = "block_output", "rms_normalised", "post_final_norm"


@dataclass(frozen=True)
class Estimate:
    """A mean over n contexts with its interval; None where undefined, with the reason."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str = ""


@dataclass(frozen=True)
class Layer:
    """Both models at one layer and tap (definitions, section 6)."""

    layer: int
    space: str
    values: Mapping[str, Estimate]  # cosine, l2, l2_relative, pr_original, pr_tuned, delta_dim
    delta_dim_without_4_largest: float | None
    delta_dim_with_first_token: float | None
    positions: int
    is_few: bool


@dataclass(frozen=True)
class Geometry:
    """All layers of one tuned model, and what they say."""

    arm: Arm
    layers: list[Layer]
    regions: str
    terminal_expansion: str
    beside_block_swap: str  # empty where no blocks were swapped

    def tap(self, space: str) -> list[Layer]:
        """The layers seen at one tap, 0 to L; after the final norm there is one."""
        return [layer for layer in self.layers if layer.space == space]


@dataclass(frozen=True)
class Ranks:
    """Ranks in the original of the tokens of some texts (definitions, section 3.2)."""

    shares: Mapping[str, Estimate]
    edges: list[int]
    counts: list[int]
    by_position: Mapping[str, list[float]]


@dataclass(frozen=True)
class Provenance:
    """Where the words of one tuned model come from, and human words beside them."""

    arm: Arm
    written: Ranks
    human: Ranks


@dataclass(frozen=True)
class Injection:
    """The original decoded with a constant shift of its logits."""

    kind: str  # promoted, all or random
    strength: float
    draws: int
    values: Mapping[str, Estimate]  # ttr, bigram_repetition, looped, ttr_minus_original, ...
    share_of_gain: Estimate
    p_holm: float | None  # strength 0 changes nothing and is no test


@dataclass(frozen=True)
class Promoted:
    """A token that gains rank on average."""

    text: str
    rank_improvement: float
    logit_shift: float


@dataclass(frozen=True)
class StaticBias:
    """How much of one tuned model's change is the same everywhere (definitions, section 5)."""

    arm: Arm
    share: Estimate
    in_words: str
    rows: list[Injection]
    verdict: str
    promoted_tokens: int
    positions: int
    most_promoted: list[Promoted]
    tuned: Mapping[str, Estimate]
    same_at_strength_0: float | None


@dataclass(frozen=True)
class Hybrid:
    """One model's last blocks on the other's lower ones."""

    upper: str  # tuned_upper or original_upper
    blocks: int
    values: Mapping[str, Estimate]  # ttr, bigram_repetition, looped, two agreements
    share_of_gain: Estimate


@dataclass(frozen=True)
class BlockSwap:
    """Every hybrid of one tuned model and its original."""

    arm: Arm
    num_blocks: int
    rows: list[Hybrid]
    references: Mapping[str, Mapping[str, Estimate]]  # original and tuned
    in_words: str


@dataclass(frozen=True)
class RankClass:
    """What the tuned model chooses from one class of ranks (definitions, section 3.3)."""

    rank_class: str
    tokens: int
    share: Estimate
    kinds: Mapping[str, Estimate]
    seen_before: Estimate
    avoids_repeat: Estimate


@dataclass(frozen=True)
class TokenKinds:
    """Kinds of tokens by their rank in the original, of one tuned model."""

    arm: Arm
    version: str
    rows: list[RankClass]


@dataclass(frozen=True)
class Explained:
    """What was found of each tuned model; empty where a control did not run."""

    geometry: list[Geometry] = field(default_factory=list)
    provenance: list[Provenance] = field(default_factory=list)
    static_bias: list[StaticBias] = field(default_factory=list)
    block_swap: list[BlockSwap] = field(default_factory=list)
    tokens: list[TokenKinds] = field(default_factory=list)

    @property
    def arms(self) -> list[Arm]:
        """Every tuned model that some control ran on."""
        parts: list[list[Any]] = [getattr(self, part.name) for part in fields(self)]
        return list(dict.fromkeys(found.arm for part in parts for found in part))
