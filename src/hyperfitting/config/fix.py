"""Settings of `fix`: the whole job in one command."""

from pydantic import Field, field_validator

from hyperfitting.config.export import Format, GgufType
from hyperfitting.config.section import MOST, Device, PathName, Section, Trust
from hyperfitting.config.training import MethodName


class FixConfig(Section):
    """A looping model and texts; everything else has a default that works."""

    model: PathName = Field(
        min_length=1, description="`builtin`, a local folder, a .gguf file or a hub id"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub id")
    data: PathName = Field(min_length=1, description="texts, as `hyperfit train` takes them")
    text_field: str | None = Field(None, description="column with the text; default `text`")
    method: MethodName | None = Field(
        None, description="how it is trained; default: as `hyperfit train`"
    )
    anyway: bool = Field(False, description="train although it does not loop")
    contexts: int = Field(
        40, ge=2, le=MOST, description="held-out texts that before and after are measured on"
    )
    strengths: tuple[float, ...] = Field(
        (0.75,), max_length=10, description="weaker strengths that are measured beside the whole"
    )
    format: Format = Field("merged", description="what is written at the end, as `export` has it")
    gguf_type: GgufType = Field("f16", description="weights of a GGUF file")
    llama_cpp: PathName | None = Field(None, description="folder of llama.cpp, for a GGUF file")
    base: str | None = Field(
        None, min_length=1, description="how others call the base model, such as org/name"
    )
    license: str | None = Field(None, min_length=1, description="licence of the result")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of the training")
    device: Device = "auto"
    trust_remote_code: Trust = False

    @field_validator("strengths")
    @classmethod
    def _weaker(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < each < 1 for each in strengths):
            raise ValueError("strengths above 0 and less than 1; the whole is always measured")
        return strengths
