"""`hyperfit demo`: train in several ways, evaluate, explain and report, each by its own verb."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from hyperfitting.config import DemoConfig, EvaluateConfig, ExplainConfig, ModelConfig
from hyperfitting.config.methods import METHODS
from hyperfitting.config.resolve import demo_runs
from hyperfitting.errors import InputError, InterruptedRunError, did_you_mean
from hyperfitting.evaluate.plan import check
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain.verb import explain
from hyperfitting.models.fit import check_length
from hyperfitting.progress import Progress
from hyperfitting.report.verb import report
from hyperfitting.runs import StudyFolder, require_free
from hyperfitting.train.dataset import read_dataset
from hyperfitting.train.verb import train
from hyperfitting.writable import require_writable


def demo(
    config: DemoConfig,
    out: str | Path,
    progress: Progress | None = None,
    *,
    sources: Mapping[str, str] | None = None,
) -> StudyFolder:
    """Train one model in several ways on the same texts, evaluate, explain and report.

    Args:
        config: what is trained and measured. Each method has its own tuned values, which what is
            set here replaces.
        out: a new folder.
        progress: where progress is shown.
        sources: where each value of the config comes from, for the runs' manifests.

    Raises:
        InputError: the folder is taken, or the settings do not fit.
    """
    progress = progress or Progress()
    out = Path(out)
    require_free(out)
    require_writable(out)
    evaluating = _beside(config.model, config.evaluate)
    # Now, and not after minutes of training:
    explained = _explained(config)
    check(evaluating, progress)
    runs = demo_runs(config, sources)
    check_length(config.model, config.data.context_tokens + config.evaluate.natural_tokens)
    dataset = read_dataset(runs[0].config, progress)
    study = StudyFolder(out)
    folders = []
    for run in runs:
        arm = METHODS[run.config.train.method].arm
        folders.append(study.run_path(arm, run.config.train.seed))
        try:
            train(
                run.config, folders[-1], progress,
                sources=run.sources, dataset=dataset, cache_folder=study.prefix_cache,
            )  # fmt: skip
        except InterruptedRunError as stop:
            raise InterruptedRunError(stop.step, stop.run, out) from None
    evaluate(folders, evaluating, out, progress)
    if explained:
        explaining = _beside(config.model, config.explain)
        explain(out, explaining, progress=progress, only=explained)
    return report(out, config.report, progress)


def _explained(config: DemoConfig) -> list[str]:
    """The arms of this demo whose controls are run.

    Raises:
        InputError: a name that no method's arm has.
    """
    known = [method.arm for method in METHODS.values()]
    if unknown := [name for name in config.explained if name not in known]:
        raise InputError(
            f"setting 'explained' names {unknown[0]!r}, which is no arm",
            needed=f"among {', '.join(known)}",
            hint=did_you_mean(unknown[0], known),
        )
    trained = {METHODS[method].arm for method in config.methods}
    return [name for name in config.explained if name in trained]


StageT = TypeVar("StageT", EvaluateConfig, ExplainConfig)


def _beside(model: ModelConfig, stage: StageT) -> StageT:
    """A stage's settings; where it does not say where models run, they run where they train."""
    names = {"device", "trust_remote_code"} - stage.model_fields_set
    return stage.model_copy(update={name: getattr(model, name) for name in names})
