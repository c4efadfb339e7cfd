"""Settings of `diagnose`: which model, on which texts, and what is tried."""

from pydantic import Field

from hyperfitting.config.section import LONGEST, MOST, Section
from hyperfitting.config.training import DataConfig, ModelConfig

USUAL = (
    "repetition_penalty,no_repeat_ngram,frequency,dry,temperature:0.8,top_k,top_p,min_p,typical,"
    "guard"
)


class DiagnoseConfig(Section):
    """A model, and texts whose beginnings it goes on with."""

    model: ModelConfig
    data: DataConfig
    contexts: int = Field(20, ge=2, le=MOST, description="held-out texts that it goes on with")
    natural_tokens: int = Field(
        192, ge=1, le=LONGEST, description="most tokens where a text may end itself"
    )
    decoders: str = Field(
        USUAL, description="decoders that are tried beside greedy; empty: none (the slowest part)"
    )
    precision: bool = Field(True, description="also run the model in bfloat16")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of decoders that draw")
    batch_size: int = Field(32, ge=1, le=MOST, description="contexts continued together")
