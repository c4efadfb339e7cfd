"""`hyperfit demo`: train in several ways, evaluate, explain and report, each by its own verb."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from hyperfitting.config import (
    DemoConfig,
    ExplainConfig,
    RunConfig,
)
from hyperfitting.config.methods import METHODS
from hyperfitting.config.presets import DEMO_DEFAULTS
from hyperfitting.config.resolve import beside, demo_runs
from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.evaluate.plan import check
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain.plan import check as check_controls
from hyperfitting.explain.plan import without_unused
from hyperfitting.explain.verb import explain
from hyperfitting.models.fit import check_length
from hyperfitting.progress import Progress
from hyperfitting.records.arms import NULL, Arm, label
from hyperfitting.report.verb import report
from hyperfitting.runs import StudyFolder, require_free
from hyperfitting.stops import stage_stops, training_stops
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
        InterruptedStudyError: Ctrl-C; it names the commands that finish the study.
    """
    progress = progress or Progress()
    out = Path(out)
    require_free(out)
    require_writable(out)
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
    dataset = read_dataset(runs[0].config, progress)
    study = StudyFolder(out)
    arms = [_arm(run.config) for run in runs]
    folders = []
    for place, run in enumerate(runs):
        seed, null = run.config.train.seed, run.config.data.null
        folders.append(study.run_path(arms[place].model, seed, null))
        waiting = [label(arm, ()) for arm in arms[place:]]
        with training_stops(study, folders[-1], waiting, is_first=not place):
            train(
                run.config, folders[-1], progress,
                sources=run.sources, dataset=dataset, cache_folder=study.prefix_cache,
            )  # fmt: skip
    with stage_stops(study, "evaluate", is_explained=bool(explained)):
        evaluate(folders, evaluating, out, progress)
    if explained:
        with stage_stops(study, "explain", settings=_in_command(explaining)):
            explain(out, explaining, progress=progress, arms=explained)
    with stage_stops(study, "report"):
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


def _in_command(config: ExplainConfig) -> str:
    """The settings that are not as by default, as words of a command."""
    given = config.model_dump(mode="json", exclude={"device", "trust_remote_code"})
    default = type(config)().model_dump(mode="json")
    words = [
        f"{name}={json.dumps(value, separators=(',', ':'))}"
        for name, value in given.items()
        if value != default[name]
    ]
    return " ".join(shlex.quote(word.replace('"', "")) for word in words)


def _arm(config: RunConfig) -> Arm:
    null = config.data.null
    settings = () if null == "none" else ((NULL, null),)
    return Arm(METHODS[config.train.method].arm, config.train.seed, settings)
