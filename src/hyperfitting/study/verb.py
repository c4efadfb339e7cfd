"""`hyperfit study`: do what a plan lacks, note how far it is, and report all of it together."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hyperfitting.config.plan import Cell, Plan, cells
from hyperfitting.errors import InputError, InterruptedGridError, UnfinishedGridError
from hyperfitting.evaluate.plan import check as check_evaluation
from hyperfitting.explain.plan import require_settings, without_unused
from hyperfitting.progress import Progress
from hyperfitting.records.grid import CellEntry, GridFile, StepEntry
from hyperfitting.records.record import write_file
from hyperfitting.report.together import report_together
from hyperfitting.runs import GridFolder, StudyFolder
from hyperfitting.study.estimate import Estimated, estimate, require_room
from hyperfitting.study.steps import Step, steps_of
from hyperfitting.study.work import Progressed, Workers
from hyperfitting.writable import require_writable


def study(
    plan: Plan,
    out: str | Path,
    progress: Progress | None = None,
    *,
    command: str | None = None,
    show: Callable[[list[Step], Estimated], None] | None = None,
) -> GridFolder:
    """Train, evaluate, explain and judge what a plan lacks; what is done is not repeated.

    Args:
        plan: as `config.plan.resolve_plan` gives it.
        out: a folder, new or of the same plan, which may have grown.
        progress: where progress is shown.
        command: what goes on after Ctrl-C, for its message.
        show: gets the steps that are missing and about what they take; nothing is done then.

    Raises:
        InputError: settings that cannot be, a folder of something else, a run there that was
            trained with other settings, or too little memory or disk.
        InterruptedGridError: Ctrl-C; the same call goes on.
        UnfinishedGridError: steps failed twice; all others are done.
    """
    progress, folder = progress or Progress(), GridFolder(Path(out))
    explaining = without_unused(plan.config.explain, plan.brought)
    plan = replace(plan, config=plan.config.model_copy(update={"explain": explaining}))
    prepared, steps = prepare(plan, folder, progress)
    missing = _missing(steps)
    estimated = estimate(plan, prepared, missing)
    if show is not None:
        show(missing, estimated)
        return folder
    require_room(estimated, plan, folder)
    require_writable(folder.path)
    with folder.writing():

        def tell(known: Sequence[Progressed]) -> None:
            write_file(folder.grid_file, _grid(plan, prepared, known))

        known = _known(folder, steps, missing)
        workers = Workers(known, plan.config.parallel, tell, progress.say, folder.logs)
        try:
            ended = workers.work()
        except KeyboardInterrupt:
            raise InterruptedGridError(folder.path, command) from None
        _report(folder, prepared, plan, progress)
    failed = [each for each in ended if each.state == "failed"]
    if failed:
        is_input = all(each.exit_code == 2 for each in failed)
        raise UnfinishedGridError(folder.path, len(failed), _told(failed), is_input=is_input)
    return folder


def _missing(steps: Sequence[Step]) -> list[Step]:
    """What is not done, and what comes after such a step: that is asked again when it is its turn.

    A study with a run more, or one that was trained anew, is to be evaluated again.
    """
    found: dict[str, Step] = {}
    for step in steps:
        if not step.is_done() or found.keys() & set(step.after):
            found[step.key] = step
    return list(found.values())


def _known(folder: GridFolder, steps: Sequence[Step], missing: Sequence[Step]) -> list[Progressed]:
    """Every step; what is done keeps what was noted of it when it was."""
    noted = {}
    with suppress(InputError):  # a damaged note costs what it said, and no step
        before = folder.grid().steps if folder.grid_file.exists() else []
        done = [each for each in before if each.state == "done"]
        noted = {f"{each.cell}/{each.name}": each for each in done}
    lacking = {step.key for step in missing}
    known = []
    for step in steps:
        entry = noted.get(step.key)
        if entry is None:
            known.append(Progressed(step, "waiting" if step.key in lacking else "done"))
        elif step.key in lacking:
            known.append(Progressed(step, seconds=entry.seconds, command=entry.command))
        else:
            known.append(
                Progressed(step, "done", entry.tries, entry.seconds, entry.exit_code, None,
                           entry.command)
            )  # fmt: skip
    return known


def _report(folder: GridFolder, prepared: Sequence[Cell], plan: Plan, progress: Progress) -> None:
    """The page of every study that was evaluated, judged or not, and one of all of them."""
    studies = [folder.path / cell.name for cell in prepared]
    evaluated = [path for path in studies if StudyFolder(path).is_evaluated]
    if evaluated:
        report_together(evaluated, plan.config.report, folder.path, progress)


def _told(failed: Sequence[Progressed]) -> list[str]:
    """One line for the steps of a cell that failed alike."""
    alike: dict[tuple[str, str | None], list[str]] = {}
    for each in failed:
        alike.setdefault((each.step.cell, each.said), []).append(each.step.name)
    return [f"{cell}: {', '.join(names)}: {said}" for (cell, said), names in alike.items()]


def prepare(plan: Plan, folder: GridFolder, progress: Progress) -> tuple[list[Cell], list[Step]]:
    """The cells and steps of a plan, after all that can be refused without a model was looked at.

    Raises:
        InputError: as `study`.
    """
    folder.require_ours()
    check_evaluation(plan.config.evaluate, progress)
    require_settings(plan.config.explain)
    prepared = cells(plan)
    return prepared, [step for cell in prepared for step in steps_of(plan, cell, folder.path)]


def _grid(plan: Plan, prepared: Sequence[Cell], known: Sequence[Progressed]) -> GridFile:
    entries = [
        StepEntry(
            cell=each.step.cell,
            name=each.step.name,
            command=each.command,
            state=each.state,
            tries=each.tries,
            seconds=each.seconds,
            exit_code=each.exit_code,
            said=each.said,
        )
        for each in known
    ]
    return GridFile(
        plan=plan.config.model_dump(mode="json") | {"variants": dict(plan.variants)},
        cells=[CellEntry(name=c.name, model=c.model, source=c.source) for c in prepared],
        steps=entries,
    )
