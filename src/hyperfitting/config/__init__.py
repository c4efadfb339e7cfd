"""Every setting: one frozen config per stage, and what they may be set to."""

from hyperfitting.config.section import Section, require_effect
from hyperfitting.config.stages import (
    CheckpointsConfig,
    DemoConfig,
    EvaluateConfig,
    ExplainConfig,
    GenerateConfig,
    OriginalConfig,
    ReportConfig,
)
from hyperfitting.config.training import (
    DataConfig,
    LoraConfig,
    ModelConfig,
    MonitorConfig,
    PrefixCacheConfig,
    RunConfig,
    Tracker,
    TrainConfig,
)

__all__ = [
    "CheckpointsConfig",
    "DataConfig",
    "DemoConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "GenerateConfig",
    "LoraConfig",
    "ModelConfig",
    "MonitorConfig",
    "OriginalConfig",
    "PrefixCacheConfig",
    "ReportConfig",
    "RunConfig",
    "Section",
    "Tracker",
    "TrainConfig",
    "require_effect",
]
