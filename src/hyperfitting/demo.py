"""`hyperfit demo`: train in several ways, evaluate, explain and report, each by its own verb.

The same command goes on where it was stopped: what a verb wrote is not done again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hyperfitting.begun import begin, going_on_with, require_same
from hyperfitting.config import DemoConfig, RunConfig
from hyperfitting.config.demo import demo_runs
from hyperfitting.config.layers import Resolved
from hyperfitting.config.methods import METHODS
from hyperfitting.config.presets import DEMO_DEFAULTS
from hyperfitting.config.resolve import beside
from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.evaluate.plan import check
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain.plan import check as check_controls
from hyperfitting.explain.plan import without_unused
from hyperfitting.explain.verb import explain
from hyperfitting.models.fit import check_length
from hyperfitting.progress import Progress
from hyperfitting.report.verb import report
from hyperfitting.runs import RunFolder, StudyFolder, require_free
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
        out: a new folder, or that of a demo with the same settings that was stopped: it goes on.
        progress: where progress is shown.
        sources: where each value of the config comes from, for the runs' manifests.

    Raises:
        InputError: the folder is taken, or the settings do not fit, or are not those that the
            folder was begun with.
        InterruptedStudyError: Ctrl-C; the same call goes on.
    """
    progress, study = progress or Progress(), StudyFolder(Path(out))
    require_same(study.settings_file, config)
    if study.settings_file.exists():
        progress.say(f"going on in {study.path}")
    else:
        require_free(study.path)
    require_writable(study.path)
    evaluating = beside(config.model, config.evaluate)
    own = DEMO_DEFAULTS["explain"]
    explaining = without_unused(beside(config.model, config.explain), own)
    # Now, and not after minutes of training:
    runs = demo_runs(config, sources)
    explained = _explained(config)
    longest = max(config.data.continuation_tokens, config.evaluate.natural_tokens)
    check_length(config.model, config.data.context_tokens + longest)
    check(evaluating, progress)
    if explained:
        check_controls(explaining, config.model)
    begin(study.settings_file, config)
    with going_on_with(study.path):
        folders = _trained(study, runs, progress)
        study.put_in_place()
        has_tasks = not config.evaluate.tasks or study.tasks_file.exists()
        if not (study.is_evaluated and has_tasks):
            evaluate(folders, evaluating, study.path, progress)
        if explained and not study.explained_files():
            explain(study.path, explaining, progress=progress, arms=explained)
        return report(study.path, config.report, progress)


def _trained(
    study: StudyFolder, runs: Sequence[Resolved[RunConfig]], progress: Progress
) -> list[Path]:
    """The folders of all runs, trained on the same texts; what was trained before stays."""
    folders = [_folder(study, run.config) for run in runs]
    started = [RunFolder(folder).started() for folder in folders]
    dataset = None
    for run, folder, before in zip(runs, folders, started, strict=True):
        if before is not None and before.status == "complete":
            continue
        if dataset is None:
            day = next((each.template_date for each in started if each is not None), None)
            dataset = read_dataset(run.config, progress, day)
        train(
            run.config, folder, progress, sources=run.sources, resume=before is not None,
            dataset=dataset, cache_folder=study.prefix_cache,
        )  # fmt: skip
    return folders


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


def _folder(study: StudyFolder, config: RunConfig) -> Path:
    return study.run_path(METHODS[config.train.method].arm, config.train.seed, config.data.null)
