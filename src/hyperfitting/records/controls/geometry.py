"""How the hidden states of both models differ, layer by layer (definitions, section 6)."""

from pydantic import Field

from hyperfitting.records.estimates import BareEstimate, Estimate, MeanEstimate, undefined
from hyperfitting.records.record import OfArm, Record

# Where a layer's states are looked at.
BLOCK_OUTPUT, RMS_NORMALISED, FINAL_NORM = "block_output", "rms_normalised", "post_final_norm"
NO_SPREAD = "the hidden states do not vary"


class Layer(Record):
    """Both models at one layer and tap; layer 0 is the embedding.

    A participation ratio is None where the states do not vary.
    """

    layer: int
    space: str
    cosine: MeanEstimate
    l2: MeanEstimate
    l2_relative: MeanEstimate
    pr_original: BareEstimate | None
    pr_tuned: BareEstimate | None
    delta_dim: BareEstimate | None
    delta_dim_relative: BareEstimate | None = None  # for other programs: nothing here reads it
    delta_dim_with_first_token: float | None
    delta_dim_without_4_largest: float | None
    positions: int
    fewer_than_10_per_dimension: bool

    @property
    def estimates(self) -> dict[str, Estimate]:
        """What has an interval, by its name; participation ratios are over the same contexts."""
        dimensions = {
            "pr_original": self.pr_original,
            "pr_tuned": self.pr_tuned,
            "delta_dim": self.delta_dim,
        }
        return {"cosine": self.cosine, "l2": self.l2, "l2_relative": self.l2_relative} | {
            name: undefined(NO_SPREAD) if found is None else found.over(self.cosine.n)
            for name, found in dimensions.items()
        }


class LayerRegions(Record):
    """Layers of each region (definitions, section 6.5), and by how much l2 rises at the last."""

    identical: list[int] = Field(default_factory=list)  # since layers are compared at all
    stable: list[int]
    compression: list[int]
    terminal: int | None
    l2_jump: float | None
    l2_jump_low: float | None = None  # since it has an interval
    l2_jump_high: float | None = None
    l2_jump_reason: str | None = None


class LastStep(Record):
    """The step to the last layer beside the mean of the others, with every step."""

    first_step_to_layer: int
    steps: list[BareEstimate]
    minus_mean_of_others: BareEstimate | None
    reason: str | None


class Geometry(OfArm):
    """All layers of one tuned model, and what they say.

    What version 0.1 did not write has a default.
    """

    layers: list[Layer] = Field(min_length=1)
    first_different_layer: int | None = None
    regions: LayerRegions | None = None
    last_step: dict[str, LastStep] | None = None  # by tap
    regions_in_words: str
    has_terminal_expansion: bool | None = None
    terminal_expansion_in_words: str
    beside_block_swap_in_words: str | None = None  # where no blocks were swapped

    def tap(self, space: str) -> list[Layer]:
        """The layers seen at one tap, 0 to L; after the final norm there is one."""
        return [layer for layer in self.layers if layer.space == space]
