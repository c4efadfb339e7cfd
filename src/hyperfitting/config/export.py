"""Settings of `export`: in what form, how exact, under which names, and what is verified."""

from typing import Literal

from pydantic import Field

from hyperfitting.config.section import LONGEST, MOST, Device, PathName, Section, Trust

Format = Literal["adapter", "merged", "gguf", "ollama", "mlx"]
GgufType = Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"]


class ExportConfig(Section):
    """How a trained run is written for other programs, and what is looked at afterwards."""

    format: Format = Field("merged", description="what is written")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of merged weights, to which the float32 sum is cast once; auto: as the base "
        "model is stored",
    )
    gguf_type: GgufType = Field(
        "f16", description="weights of the GGUF file; q6_k and smaller need llama-quantize"
    )
    llama_cpp: PathName | None = Field(
        None, description="folder of llama.cpp, whose converter is run; default: it is printed"
    )
    strength: float = Field(
        1.0, ge=0, le=100, description="factor of what was trained: 0 the original, 1 the run"
    )
    base: str | None = Field(
        None,
        min_length=1,
        description="how others call the base model, such as org/name; default: as the run",
    )
    license: str | None = Field(
        None,
        min_length=1,
        description="licence of the result, such as apache-2.0; default: the base model's",
    )
    contexts: int = Field(
        20, ge=1, le=MOST, description="held-out contexts that the export is verified on"
    )
    natural_tokens: int = Field(
        192, ge=0, le=LONGEST, description="most tokens where texts may end themselves; 0: none"
    )
    batch_size: int = Field(32, ge=1, le=MOST, description="contexts continued together")
    push_to_hub: str | None = Field(
        None, description="repository, such as me/name, that the export is sent to"
    )
    private: bool = Field(True, description="make that repository private where it is new")
    device: Device = "auto"
    trust_remote_code: Trust = False
