"""Settings of `compare`: two models that go on with the same prompts."""

from pydantic import Field

from hyperfitting.config.section import LONGEST, MOST, Device, PathName, Section, Trust


class CompareConfig(Section):
    """Two models, or a run and its original."""

    a: PathName = Field(
        min_length=1, description="a model, or a run whose original is compared with it"
    )
    b: PathName | None = Field(None, description="a second model; default: `a` and its original")
    strength: float = Field(
        1.0, ge=0, le=100, description="factor of what was trained in `b`, or in the lone run"
    )
    max_new_tokens: int = Field(96, ge=1, le=LONGEST, description="cap; a text may end itself")
    batch_size: int = Field(32, ge=1, le=MOST, description="prompts that run together")
    device: Device = "auto"
    trust_remote_code: Trust = False
