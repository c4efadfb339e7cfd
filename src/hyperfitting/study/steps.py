"""The steps of a plan as commands of `hyperfit`, each with what tells that it is done.

A finished step is told by the files of its own verb, not by what the grid remembers: a folder that
was copied, or in which a verb was run by hand, goes on where it is.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperfitting.config import EvaluateConfig, ExplainConfig, RunConfig, Section
from hyperfitting.config.judge import TRANSPORT, JudgeConfig
from hyperfitting.config.layers import flatten
from hyperfitting.config.methods import METHODS
from hyperfitting.config.plan import Cell, Plan, PlannedRun
from hyperfitting.errors import InputError
from hyperfitting.explain.plan import settings_of
from hyperfitting.records.controls import RECORDS, ControlFile
from hyperfitting.records.judged import Judgement, Judgements
from hyperfitting.records.manifest import RunManifest
from hyperfitting.records.record import read_file
from hyperfitting.records.study import StudyFile
from hyperfitting.runs import RunFolder, StudyFolder

DAY = "data.template_date"
# Settings that say where a run's files and products are, and change none of its numbers' meaning.
WHEREABOUTS = ("model.device", "model.trust_remote_code", "train.prefix_cache.", "monitor.track")


@dataclass(frozen=True)
class Step:
    """A command, asked for when it starts; None where there is nothing it could be run on.

    `after` names the steps that have to have ended before, done or not.
    """

    cell: str
    name: str
    folder: Path  # that its verb writes to
    command: Callable[[], list[str] | None]
    is_done: Callable[[], bool]
    after: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The step among those of all cells."""
        return f"{self.cell}/{self.name}"


def steps_of(plan: Plan, cell: Cell, out: Path) -> list[Step]:
    """Train what is missing, evaluate, explain, judge where a judge is set, and report."""
    study = StudyFolder(out / cell.name)
    trainings = [_training(study, cell, run) for run in cell.runs]
    evaluation = _evaluation(plan, study, cell, [step.key for step in trainings])
    steps = [*trainings, evaluation]
    if explained := _explained(plan, study, cell):
        steps.append(_explanation(plan, study, cell, explained, evaluation))
    if plan.judge is not None:
        steps.append(_judgement(plan.judge, study, cell, evaluation))
    return steps


def words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as `key=value` words, which the command line reads back as they are."""
    return [f"{key}={_word(value)}" for key, value in settings.items()]


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def changed(config: Section) -> dict[str, Any]:
    """The settings that are not as by default."""
    default = flatten(type(config)().model_dump(mode="json"))
    own = flatten(config.model_dump(mode="json"))
    return {key: value for key, value in own.items() if value != default[key]}


def _training(study: StudyFolder, cell: Cell, run: PlannedRun) -> Step:
    folder = RunFolder(study.runs / run.folder)

    def command() -> list[str]:
        if folder.manifest_file.exists():
            consent = ["--trust-remote-code"] if run.config.model.trust_remote_code else []
            return ["train", "--resume", "--out", str(folder.path), *consent]
        more = {**_cache(study, cell, run), **_day(study, cell)}
        return training_command(cell, run, folder.path, more)

    def is_done() -> bool:
        before = folder.started()
        if before is None:
            return False
        _require_same(folder.path, before.config, run.config)
        return before.status == "complete"

    return Step(cell.name, f"train {run.folder}", folder.path, command, is_done)


def training_command(
    cell: Cell, run: PlannedRun, out: Path, more: Mapping[str, Any] | None = None
) -> list[str]:
    """The words that train one run of a plan from its beginning."""
    protocol = ["--preset", run.protocol] if run.protocol else []
    method = ["--method", run.config.train.method]
    return [
        "train", cell.model, "--data", cell.source, *method, *protocol,
        "--out", str(out), *words({**run.given, **(more or {})}),
    ]  # fmt: skip


def _cache(study: StudyFolder, cell: Cell, run: PlannedRun) -> dict[str, str]:
    """A prefix cache on disk for trainings that have the same one; none where it is chosen."""
    key = "train.prefix_cache."
    method = run.config.train.method
    alike = [each for each in cell.runs if each.config.train.method == method]
    if not METHODS[method].is_late or len(alike) == 1 or any(k.startswith(key) for k in run.given):
        return {}
    return {f"{key}place": "disk", f"{key}folder": str(study.prefix_cache)}


def _day(study: StudyFolder, cell: Cell) -> dict[str, str]:
    """The day that chat templates of this cell write: the first training's, or texts differ."""
    started = (RunFolder(study.runs / run.folder).started() for run in cell.runs)
    days = (before.template_date for before in started if before is not None)
    day = next(filter(None, days), None)
    return {} if day is None else {DAY: day}


def _require_same(path: Path, trained: Mapping[str, Any], planned: RunConfig) -> None:
    """Refuse a run that was trained with other settings than the plan now has.

    Raises:
        InputError: it was.
    """
    before = flatten(trained)
    for key, value in flatten(planned.model_dump(mode="json")).items():
        if key.startswith(WHEREABOUTS) or key not in before or before[key] == value:
            continue  # a setting that an older version did not know tells nothing
        if key == "model.name" and Path(before[key]).resolve() == Path(value).resolve():
            continue  # a run keeps where its model lies, the plan as it is called from here
        if key == DAY and value is None:
            continue  # it was taken from another training of the cell
        raise InputError(
            f"{path} was trained with {key}={_word(before[key])}, the plan has {_word(value)}",
            needed="the same settings, or another --out",
            hint="variants can stand beside each other: variants: {NAME: {KEY: VALUE}}",
        )


def _evaluation(plan: Plan, study: StudyFolder, cell: Cell, after: Sequence[str]) -> Step:
    config = plan.config.evaluate

    def command() -> list[str] | None:
        complete = _complete(study, cell)
        folders = [str(study.runs / name) for name in complete]
        if not folders:
            return None
        return ["evaluate", *folders, "--out", str(study.path), *words(changed(config))]

    def is_done() -> bool:
        if not study.study_file.exists():
            return False
        about = read_file(StudyFile, study.study_file, "run `hyperfit evaluate` again")
        if config.tasks and not study.tasks_file.exists():
            return False
        has = {Path(entry.path).name: entry for entry in about.runs if entry.path}
        return _was_set(about.evaluate, config) and all(
            name in has
            and has[name].is_of(manifest)
            and manifest.contexts_digest == about.data.contexts_digest
            for name, manifest in _complete(study, cell).items()
        )

    return Step(cell.name, "evaluate", study.path, command, is_done, tuple(after))


def _was_set(before: Any, config: EvaluateConfig) -> bool:
    """Whether an evaluation had these settings; where it ran does not count."""
    asked = config.model_dump(mode="json", exclude={"device", "trust_remote_code", "batch_size"})
    had = before.model_dump(mode="json")
    return all(had.get(key, value) == value for key, value in asked.items())


def _complete(study: StudyFolder, cell: Cell) -> dict[str, RunManifest]:
    """The runs of the plan that are there and whole, by the names of their folders."""
    found = {}
    for run in cell.runs:
        before = RunFolder(study.runs / run.folder).started()
        if before is not None and before.status == "complete":
            found[run.folder] = before
    return found


def _explained(plan: Plan, study: StudyFolder, cell: Cell) -> list[PlannedRun]:
    """The runs whose controls are run: of each arm that is asked for, the first seed's."""
    first = plan.config.seeds[0]
    return [
        run
        for run in cell.runs
        if METHODS[run.config.train.method].arm in plan.config.explained
        and run.config.train.seed == first
        and run.config.data.null == "none"
        and run.folder == f"{METHODS[run.config.train.method].arm}-seed-{first}"
    ]


def _explanation(
    plan: Plan, study: StudyFolder, cell: Cell, runs: Sequence[PlannedRun], before: Step
) -> Step:
    config: ExplainConfig = plan.config.explain

    def command() -> list[str] | None:
        complete = [str(study.runs / r.folder) for r in runs if r.folder in _complete(study, cell)]
        if not complete or not study.study_file.exists():
            return None
        return ["explain", *complete, "--out", str(study.path), *words(changed(config))]

    def is_done() -> bool:
        if not study.explain.is_dir() or not study.study_file.exists():
            return False
        evaluated = read_file(StudyFile, study.study_file, "run `hyperfit evaluate` again")
        arms = {METHODS[run.config.train.method].arm for run in runs}
        texts = next((each.contexts_digest for each in _complete(study, cell).values()), None)
        found = {name: _control(study, name) for name in RECORDS}
        there = [file for file in found.values() if file is not None]
        # A control that does not apply leaves no file: it was run where it was asked for.
        asked = {name for file in there for name in file.explain["only"] or RECORDS}
        for name in config.only or RECORDS:
            file = found[name]
            if file is None and name in asked:
                continue
            if file is None or not _says(file, arms, config) or file.contexts_digest != texts:
                return False
            if file.of_others(evaluated.digests(file.environment)):
                return False
        return True

    return Step(cell.name, "explain", study.path, command, is_done, (before.key,))


def _control(study: StudyFolder, name: str) -> ControlFile[Any] | None:
    path = study.explain_file(name)
    if not path.exists():
        return None
    kind: Any = RECORDS[name]  # a type that is known at run time only
    found: ControlFile[Any] = read_file(ControlFile[kind], path, "run `hyperfit explain` again")
    return found


def _says(file: ControlFile[Any], arms: set[str], config: ExplainConfig) -> bool:
    """Whether a control's file speaks of these arms, found with these settings."""
    asked = settings_of(config)
    return {each.arm.model for each in file.arms} >= arms and all(
        file.explain.get(key, value) == value for key, value in asked.items()
    )


def _was_asked(found: Judgement, config: JudgeConfig) -> bool:
    """Whether a judgement had these settings; how its judge was reached does not count."""
    asked = config.model_dump(mode="json", exclude=TRANSPORT)
    return all(found.settings.get(key, value) == value for key, value in asked.items())


def _judgement(config: JudgeConfig, study: StudyFolder, cell: Cell, before: Step) -> Step:
    default = {name: field.get_default() for name, field in JudgeConfig.model_fields.items()}
    own = {k: v for k, v in config.model_dump(mode="json").items() if v != default[k]}

    def command() -> list[str] | None:
        return ["judge", str(study.path), *words(own)] if study.study_file.exists() else None

    def is_done() -> bool:
        path = study.judge.results_file
        if not path.exists():
            return False
        found = read_file(Judgements, path, "run `hyperfit judge` again").comparisons
        about = read_file(StudyFile, study.study_file, "run `hyperfit evaluate` again")
        texts = set(about.files.values())
        return any(
            each.n and {each.a.texts, each.b.texts} <= texts and _was_asked(each, config)
            for each in found
        )

    return Step(cell.name, "judge", study.path, command, is_done, (before.key,))
