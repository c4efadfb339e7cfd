"""The library functions behind the command line, one per verb, under the same name.

Each takes a resolved config and a place for its output, reports progress to `progress`, and
returns the folder it wrote. Nothing is written before the input has been checked.
"""

from collections.abc import Sequence
from pathlib import Path

from hyperfitting.config import DemoConfig, EvaluateConfig, ReportConfig, RunConfig
from hyperfitting.errors import InputError, InterruptedRunError
from hyperfitting.models.load import check_length
from hyperfitting.progress import Progress
from hyperfitting.report.build import write_report
from hyperfitting.report.figures import save_run_figure
from hyperfitting.resolve import demo_runs
from hyperfitting.runs import RunFolder, StudyFolder, require_free
from hyperfitting.settings import Layer, Resolved
from hyperfitting.storage import read_json
from hyperfitting.study.evaluate import open_runs, write_study
from hyperfitting.study.texts import read_dataset
from hyperfitting.study.training import train_run
from hyperfitting.train.methods import METHODS


def train(
    resolved: Resolved[RunConfig],
    out: Path,
    progress: Progress | None = None,
    *,
    resume: bool = False,
) -> RunFolder:
    """Train one method on one data set into the new folder `out`, or go on with the run there.

    Raises:
        InputError: the folder is taken, or model, data or settings do not fit.
        InterruptedRunError: Ctrl-C; the run was saved and can be resumed.
    """
    progress = progress or Progress()
    run = RunFolder(out)
    if not (resume and run.manifest_file.exists()):
        require_free(out)
    elif run.is_complete():
        progress.say(f"{out} is complete: there is nothing to resume")
        return run
    dataset = read_dataset(resolved.config, progress)
    train_run(run, resolved, dataset, progress, resume=resume)
    save_run_figure(run.metrics(), METHODS[resolved.config.train.method].arm, run.figure_file)
    return run


def evaluate(
    paths: Sequence[Path],
    config: EvaluateConfig,
    out: Path | None = None,
    progress: Progress | None = None,
) -> StudyFolder:
    """Score runs, or all runs of a study again, beside the original and the human text.

    A lone run becomes a study of one in its own folder; several runs need `out`.

    Raises:
        InputError: no finished runs there, runs that cannot be compared, or `out` is taken.
    """
    study, runs = _study_and_runs(paths, out)
    write_study(study, open_runs(runs, config), config, progress or Progress())
    return study


def _study_and_runs(paths: Sequence[Path], out: Path | None) -> tuple[StudyFolder, list[Path]]:
    if out is not None:
        require_free(out)
    runs: list[Path] = []
    for path in paths:
        study = StudyFolder(path)
        if study.study_file.exists():
            listed = read_json(study.study_file).get("runs")
            if not listed:
                raise InputError(f"{study.study_file} lists no runs", needed="a whole study")
            runs += [path / run["path"] for run in listed]
        else:
            RunFolder(path).manifest()
            runs.append(path)
    if out is None and len(paths) > 1:
        raise InputError(
            f"{len(paths)} folders are given, but no place for the comparison",
            needed="--out with a new folder",
        )
    return StudyFolder(out or paths[0]), runs


def report(path: Path, config: ReportConfig, progress: Progress | None = None) -> StudyFolder:
    """Write the report of an evaluated run or study again from its files.

    Raises:
        InputError: the folder was not evaluated yet, or its files are damaged.
    """
    study = StudyFolder(path)
    with (progress or Progress()).stage("report") as stage:
        write_report(study, config)
        stage.update(1, str(study.report_file))
    return study


def demo(
    resolved: Resolved[DemoConfig],
    user: Sequence[Layer],
    out: Path,
    progress: Progress | None = None,
) -> StudyFolder:
    """Train every method on the built-in model and texts, evaluate and report.

    Args:
        resolved: the demo's config.
        user: the layers it was resolved from; each method is resolved from them again,
            because each has its own tuned values.
        out: a new folder.
        progress: where progress is shown.

    Raises:
        InputError: the folder is taken, or the settings do not fit.
    """
    progress = progress or Progress()
    require_free(out)
    config, study = resolved.config, StudyFolder(out)
    runs = demo_runs(config, user)
    longest = config.data.context_tokens + config.evaluate.natural_tokens
    check_length(config.model, longest)  # now, not after minutes of training
    dataset = read_dataset(runs[0].config, progress)
    folders = []
    for run in runs:
        arm = METHODS[run.config.train.method].arm
        folders.append(study.run_path(arm, run.config.train.seed))
        folder, cache = RunFolder(folders[-1]), study.prefix_cache
        try:
            train_run(folder, run, dataset, progress, cache_folder=cache)
        except InterruptedRunError as stop:
            raise InterruptedRunError(stop.step, stop.run, out) from None
    evaluate_config = config.evaluate.model_copy(
        update={
            "device": config.model.device,
            "trust_remote_code": config.model.trust_remote_code,
        }
    )
    write_study(study, open_runs(folders, evaluate_config), evaluate_config, progress)
    return report(out, config.report, progress)
