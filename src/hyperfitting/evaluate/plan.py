"""Everything of an evaluation that can be refused before a model is loaded or an hour is spent."""

from collections.abc import Sequence
from dataclasses import dataclass

from hyperfitting.config import EvaluateConfig, ModelConfig, require_effect
from hyperfitting.evaluate.decoding import requested_decoders
from hyperfitting.generate.specs import DecoderSpec
from hyperfitting.measure.mauve import require_sklearn
from hyperfitting.measure.quality import require_sacrebleu
from hyperfitting.models.load import load_model_config
from hyperfitting.progress import Progress
from hyperfitting.tasks.harness import CheckedTasks
from hyperfitting.tasks.run import requested_tasks


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was asked for, read and found to be possible."""

    config: EvaluateConfig
    decoders: tuple[DecoderSpec, ...]
    tasks: CheckedTasks | None


def check(config: EvaluateConfig, progress: Progress) -> Plan:
    """Read what a config asks for, and look whether models and packages are there.

    Raises:
        InputError: an unknown decoder or task, a model or package that is missing, or a setting
            without effect.
    """
    decoders = requested_decoders(config)
    _require_models(config)
    if config.mauve_features is not None:
        require_sklearn()
    if config.self_bleu:
        require_sacrebleu()
    _require_effect(config, decoders)
    tasks = requested_tasks(config, progress)
    return Plan(config=config, decoders=decoders, tasks=tasks)


def _require_effect(config: EvaluateConfig, decoders: Sequence[DecoderSpec]) -> None:
    tasks, features = bool(config.tasks.strip()), config.mauve_features is not None
    require_effect(
        config,
        ("tasks_folder", tasks, "tasks", "tasks=NAME"),
        ("tasks_limit", tasks, "tasks", "tasks=NAME"),
        ("mauve_seeds", features, "a feature model of MAUVE", "mauve_features=MODEL"),
        ("decoders_on", bool(decoders), "decoders beside greedy", "decoders=NAME"),
    )


def _require_models(config: EvaluateConfig) -> None:
    for name in (config.coherence_model, config.mauve_features, config.amateur):
        if name is not None:
            load_model_config(ModelConfig(name=name, trust_remote_code=config.trust_remote_code))
