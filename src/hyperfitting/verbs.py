"""The library functions behind the command line, one per verb, under the same name.

Each takes a resolved config and a place for its output, reports progress to `progress`, and
returns the folder it wrote. Nothing is written before the input has been checked.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from hyperfitting.compare.checkpoints import open_checkpoints
from hyperfitting.compare.comparison import Comparison
from hyperfitting.compare.domains import open_runs_on
from hyperfitting.compare.runs import open_runs
from hyperfitting.config import (
    CheckpointsConfig,
    DemoConfig,
    EvaluateConfig,
    ExplainConfig,
    GenerateConfig,
    ReportConfig,
    RunConfig,
)
from hyperfitting.config.layers import Layer, Resolved
from hyperfitting.config.methods import METHODS
from hyperfitting.config.resolve import demo_runs
from hyperfitting.errors import InputError, InterruptedRunError
from hyperfitting.evaluate.decoding import requested_decoders
from hyperfitting.evaluate.write import write_study
from hyperfitting.explain.verb import write_explanation
from hyperfitting.generate.verb import continue_prompts, read_prompts
from hyperfitting.models.fit import check_length
from hyperfitting.progress import Progress
from hyperfitting.records.record import write_file
from hyperfitting.report.figures.training import save_run_figure
from hyperfitting.report.verb import write_report
from hyperfitting.runs import RunFolder, StudyFolder, require_free
from hyperfitting.storage import read_json
from hyperfitting.tasks.run import requested_tasks, run_tasks
from hyperfitting.train.dataset import read_dataset
from hyperfitting.train.verb import train_run


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
    started = run.started() if resume else None
    day = started.template_date if started else None
    dataset = read_dataset(resolved.config, progress, day)
    train_run(run, resolved, dataset, progress, resume=resume)
    save_run_figure(run.metrics(), METHODS[resolved.config.train.method].arm, run.figure_file)
    return run


def evaluate(
    paths: Sequence[Path],
    config: EvaluateConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    *,
    data: Sequence[str] = (),
    text_field: str | None = None,
) -> StudyFolder:
    """Score runs, or all runs of a study again, beside the original and the human text.

    A lone run becomes a study of one in its own folder; several runs need `out`. `data` names
    the texts, by default those the runs were trained on; on a second and further source models
    are decoded greedily only, so that domains can be compared.

    Raises:
        InputError: no finished runs there, runs that cannot be compared, or `out` is taken.
    """
    progress = progress or Progress()
    requested_decoders(config)  # now, not after the models are loaded
    study, runs = _study_and_runs(paths, out)
    options: dict[str, Any] = {
        "device": config.device,
        "trust_remote_code": config.trust_remote_code,
        "best_val": config.best_val,
    }
    if data:
        first, *others = open_runs_on(runs, data, text_field, progress, **options)
    else:
        first, others = open_runs(runs, **options), []
    _write_evaluation(study, first, config, progress, others)
    return study


def evaluate_checkpoints(
    checkpoints: CheckpointsConfig,
    config: EvaluateConfig,
    out: Path,
    progress: Progress | None = None,
) -> StudyFolder:
    """Score any tuned checkpoint beside its original and the human text, into the new `out`.

    Raises:
        InputError: the checkpoints cannot be compared, the texts do not serve, or `out` is taken.
    """
    progress = progress or Progress()
    requested_decoders(config)
    require_free(out)
    study = StudyFolder(out)
    _write_evaluation(study, open_checkpoints(checkpoints, progress), config, progress)
    return study


def _write_evaluation(
    study: StudyFolder,
    comparison: Comparison,
    config: EvaluateConfig,
    progress: Progress,
    elsewhere: Sequence[Comparison] = (),
) -> None:
    """The study, and what the models still know where tasks are asked for."""
    # First: a task that cannot be used ends it before minutes of decoding.
    checked = requested_tasks(config, progress)
    found = run_tasks(checked, comparison, config, progress) if checked else None
    write_study(study, comparison, config, progress, elsewhere=elsewhere)
    if found is None:
        study.tasks_file.unlink(missing_ok=True)  # of an earlier evaluation
    else:
        write_file(study.tasks_file, found)


def explain(
    paths: Sequence[Path],
    config: ExplainConfig,
    out: Path | None = None,
    progress: Progress | None = None,
) -> StudyFolder:
    """Run the controls on runs, or on all runs of a study, and write `explain/*.json`.

    Raises:
        InputError: as `evaluate`, or the model is of no known family.
    """
    study, runs = _study_and_runs(paths, out)
    comparison = open_runs(runs, device=config.device, trust_remote_code=config.trust_remote_code)
    write_explanation(study, comparison, config, progress or Progress())
    return study


def explain_checkpoints(
    checkpoints: CheckpointsConfig,
    config: ExplainConfig,
    out: Path,
    progress: Progress | None = None,
) -> StudyFolder:
    """Run the controls on any tuned checkpoint and its original.

    `out` is a new folder, or one that `evaluate_checkpoints` wrote from the same checkpoints.

    Raises:
        InputError: as `evaluate_checkpoints`, or the model is of no known family.
    """
    progress = progress or Progress()
    study = StudyFolder(out)
    if not study.study_file.exists():
        require_free(out)
    else:  # the day that its texts were rendered on
        written = read_json(study.study_file).get("data", {}).get("template_date")
        if written and checkpoints.data.template_date is None:
            day = {"template_date": date.fromisoformat(written)}
            data = checkpoints.data.model_copy(update=day)
            checkpoints = checkpoints.model_copy(update={"data": data})
    comparison: Comparison = open_checkpoints(checkpoints, progress)
    write_explanation(study, comparison, config, progress)
    return study


def generate(
    config: GenerateConfig,
    prompts: Sequence[str] | None = None,
    file: Path | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Continue prompts, given or one a line of `file`; one entry per prompt and sample.

    Raises:
        InputError: no prompts, an unknown decoder, or a model that cannot be loaded or does not
            fit.
    """
    return continue_prompts(config, read_prompts(prompts, file), progress or Progress())


def explanation(study: StudyFolder) -> dict[str, Any]:
    """What `explain` wrote: one entry per control.

    Raises:
        InputError: it did not run here.
    """
    files = sorted(study.explain.glob("*.json"))
    if not files:
        raise InputError(
            f"{study.path} holds no explain/*.json",
            needed="a folder that was explained",
            hint=f"hyperfit explain {study.path}",
        )
    return {path.stem: read_json(path) for path in files}


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
            if not all(run.get("path") for run in listed):
                raise InputError(
                    f"{path} compares checkpoints that are no runs",
                    needed="--base and --tuned again",
                )
            runs += [path / path_of for path_of in dict.fromkeys(run["path"] for run in listed)]
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
    requested_decoders(config.evaluate)  # now, not after minutes of training
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
    device, trust = config.model.device, config.model.trust_remote_code
    here = {"device": device, "trust_remote_code": trust}
    comparison = open_runs(folders, device=device, trust_remote_code=trust)
    write_study(study, comparison, config.evaluate.model_copy(update=here), progress)
    explained = replace(
        comparison, tuned=[t for t in comparison.tuned if t.arm.name in config.explained]
    )
    if explained.tuned:
        write_explanation(study, explained, config.explain.model_copy(update=here), progress)
    return report(out, config.report, progress)
