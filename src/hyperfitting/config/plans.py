"""Plans of `hyperfit study`: models x texts x methods x seeds x variants, and plans by name.

A plan is a YAML file or one of `PLANS`. Its groups of settings are those of the verbs; they hold
for every training and every study that they apply to. `variants` and `judge` come beside them: a
variant maps its name to settings of training, the judge's are those of `hyperfit judge`.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from hyperfitting.config.methods import Settings
from hyperfitting.config.presets import DEMO_DEFAULTS, PRESETS
from hyperfitting.config.section import LARGEST_SEED, PathName, Section
from hyperfitting.config.stages import EvaluateConfig, ExplainConfig, ReportConfig
from hyperfitting.config.training import (
    DataConfig,
    MethodName,
    ModelConfig,
    MonitorConfig,
    Null,
    TrainConfig,
)

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


class PlanConfig(Section):
    """Which trainings are compared; the groups of settings are those of the other verbs."""

    models: tuple[PathName, ...] = Field(min_length=1, description="as MODEL of `hyperfit train`")
    sources: tuple[PathName, ...] = Field(min_length=1, description="texts, as data.source")
    methods: tuple[MethodName, ...] = Field(
        ("full_sft", "full_lora", "late_half_sft", "late_stage_lora"),
        min_length=1,
        description="each trained on every model and every source",
    )
    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1, description="trainings of each")
    nulls: tuple[Null, ...] = Field(
        (), description="the first method once more on windows that say nothing, see data.null"
    )
    protocol: str | None = Field(
        None, description=f"published settings of training: {', '.join(PRESETS)}; default: ours"
    )
    explained: tuple[str, ...] = Field(
        ("hyperfitted",), description="arms whose controls are run, those of the first seed"
    )
    parallel: int = Field(1, ge=1, le=64, description="steps that run side by side")
    check_room: bool = Field(
        True, description="false: begin although memory or disk look too small for it"
    )
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    monitor: MonitorConfig = Field(default_factory=MonitorConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    explain: ExplainConfig = Field(default_factory=ExplainConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)


# The paper's models and texts (section 2.1) by their hub ids; SmolLM2 and Gemma as
# recipes/real-models.md has them.
PLANS: Mapping[str, Settings] = {
    "paper": {
        "models": [
            "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
            "Qwen/Qwen2.5-1.5B",
            "meta-llama/Llama-3.2-3B",
            "google/gemma-2-2b",
            "meta-llama/Llama-3.1-8B-Instruct",
            "Qwen/Qwen2.5-7B-Instruct",
        ],
        "sources": ["fiction_stories", "writing_prompts", "ag_news"],
        "methods": ["full_sft", "full_lora", "late_stage_lora"],
        "seeds": [0],
        "protocol": "paper",
    },
    "real": {
        "models": ["HuggingFaceTB/SmolLM2-135M-Instruct", "google/gemma-3-270m"],
        "sources": ["builtin:fiction"],
        "nulls": ["shuffled"],
        "evaluate": {"natural_tokens": 128, "sampling_seeds": 1},
        "explain": {"strengths": [0.1, 1.0], "random_draws": 1},
    },
    "builtin": {
        "models": ["builtin"],
        "parallel": 2,  # threads of one process gain little on a model this small
        "sources": ["builtin:fiction"],
        "methods": ["full_sft", "full_lora", "late_stage_lora"],
        "nulls": ["shuffled"],
        "train": {"stop": "epochs"},
        **{verb: DEMO_DEFAULTS[verb] for verb in ("monitor", "evaluate", "explain")},
        "data": {"num_train": 80},
    },
}
