"""Settings of the judge (definitions, section 8.8)."""

from typing import Literal

from pydantic import Field

from hyperfitting.config import Section
from hyperfitting.config.section import LARGEST_SEED, LONGEST, MOST

ARM_FORM = "an arm of the study, with `,key=value` where several fit: late_stage_lora,seed=1"

# How a judge is reached and what it costs, which change no verdict.
TRANSPORT = {
    "api_key_env", "concurrency", "timeout_seconds", "retries", "device", "trust_remote_code",
    "price_in", "price_out", "endpoint",
}  # fmt: skip


class JudgeConfig(Section):
    """Which texts are compared, by which model, and how it is asked."""

    a: str = Field(min_length=1, description=f"{ARM_FORM}; rates are of this arm")
    b: str = Field(min_length=1, description=ARM_FORM)
    mode: Literal["fixed_length", "natural"] = Field(
        "fixed_length", description="which continuations of the arms are read"
    )
    pairs: int = Field(200, ge=1, le=MOST, description="pairs asked about (paper: 200)")
    pair_seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="which contexts, where the study has more"
    )
    orders: Literal["both", "single"] = Field(
        "both", description="`both`: every pair twice, swapped; `single`: `a` first, as the paper"
    )
    model: str = Field(min_length=1, description="the judge: its name at the endpoint, or a folder")
    local: bool = Field(False, description="run the judge here, with transformers")
    endpoint: str | None = Field(
        None,
        description="base URL of an OpenAI-compatible server, such as http://localhost:8000/v1",
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        description="environment variable that holds the key; the key itself is never a setting",
    )
    temperature: float | None = Field(
        0.0,
        ge=0,
        le=2,
        description="of the judge (ours); null: not sent, for models that refuse it",
    )
    max_tokens: int | None = Field(
        1024,
        ge=32,
        le=LONGEST,
        description="longest answer (ours); null: not sent, for models that refuse it",
    )
    concurrency: int = Field(4, ge=1, le=64, description="requests under way at once")
    timeout_seconds: float = Field(120.0, gt=0, le=86_400, description="wait for one answer")
    retries: int = Field(
        6, ge=0, le=20, description="after 429, 5xx, time-outs and cut connections, with back-off"
    )
    reasks: int = Field(
        1, ge=0, le=3, description="further tries after an answer without a verdict"
    )
    price_in: float | None = Field(
        None, ge=0, le=MOST, description="per million prompt tokens, any currency"
    )
    price_out: float | None = Field(None, ge=0, le=MOST, description="per million answered tokens")
    confidence: float = Field(0.95, gt=0, lt=1, description="of the Clopper-Pearson intervals")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="of a local judge")
    trust_remote_code: bool = Field(False, description="run code that a local judge brings along")
