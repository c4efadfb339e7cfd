"""Settings of `doctor`: which texts, and for which model."""

from pydantic import Field

from hyperfitting.config.section import MOST, Section
from hyperfitting.config.training import DataConfig, ModelConfig


class DoctorConfig(Section):
    """Texts as `hyperfit train` would read them, and the model they are for."""

    model: ModelConfig
    data: DataConfig
    most_texts: int = Field(
        20_000, ge=2, le=MOST, description="first texts that are looked at; the rest is counted"
    )
