"""What other controls found before, which stays beside those that are run now.

Controls stand side by side where they are of the same texts, models, settings and versions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hyperfitting.config import ExplainConfig
from hyperfitting.environment import environment
from hyperfitting.errors import InputError
from hyperfitting.explain.plan import USED_BY, settings_of
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.controls import RECORDS, ControlFile
from hyperfitting.records.record import OfArm, read_file
from hyperfitting.runs import StudyFolder
from hyperfitting.seals import SEAL, DamagedError, open_sealed

ANEW = "without --only every control is run anew"
Files = Mapping[str, ControlFile[Any]]  # by control


def files_beside(
    study: StudyFolder,
    config: ExplainConfig,
    contexts_digest: str,
    arms: Sequence[Arm],
    progress: Progress,
) -> Files:
    """The files of controls that are not asked for; none where all are run.

    Of other texts than these, and of models that are not explained now, nothing stays: a line says
    so.

    Raises:
        InputError: they were run with other settings or by another version, or are damaged.
    """
    found: dict[str, ControlFile[Any]] = {}
    others = [name for name in RECORDS if name not in config.only]
    if not config.only or not any(study.explain_file(name).exists() for name in others):
        return found
    _require_whole(study)
    for name in others:
        path = study.explain_file(name)
        if not path.exists():
            continue
        kind: Any = RECORDS[name]  # a type that is known at run time only
        file: ControlFile[Any] = read_file(ControlFile[kind], path, ANEW)
        if file.contexts_digest != contexts_digest:
            progress.say(f"  {path} is of other texts and is removed")
            continue
        _require_alike(file, name, config, f"{path} was written")
        if left := _of_arms(file, arms, f"{path}", progress):
            found[name] = left
    return found


def require_original(files: Files, digest: str) -> None:
    """Refuse files of another original.

    Raises:
        InputError: there is one.
    """
    for name, file in files.items():
        if file.original_digest != digest:
            raise InputError(
                f"what {name} found before is of another original",
                needed="controls of the same models side by side",
                hint=ANEW,
            )


def beside(files: Files, control: str, arm: Arm, digest: str) -> OfArm | None:
    """What such a file says of a tuned model; None where it says nothing of it.

    Raises:
        InputError: it is of another model.
    """
    file = files.get(control)
    if file is None:
        return None
    for record, known in zip(file.arms, file.digests, strict=True):
        if record.arm != arm:
            continue
        if known != digest:
            raise InputError(
                f"what {control} found before is of another model than {arm.in_full}",
                needed="controls of the same model side by side",
                hint=ANEW,
            )
        found: OfArm = record
        return found
    return None


def _require_alike(
    file: ControlFile[Any], control: str, config: ExplainConfig, written: str
) -> None:
    """Refuse a file that cannot stand beside what is run now.

    A setting that only some controls use counts where this one and one that is asked for do.

    Raises:
        InputError: it was written by another version, or with other settings.
    """
    now = environment().packages
    then = file.environment.packages
    name = next((name for name in now if now[name] != then.get(name)), None)
    if len(file.digests) != len(file.arms) or file.original_digest is None or name is not None:
        version = f"{name} {then.get(name)}" if name else "an earlier version"
        raise InputError(
            f"{written} by {version}, and {config.only[0]} is to be run by "
            f"{f'{name} {now[name]}' if name else 'this one'}",
            needed="one version for controls that stand side by side",
            hint=ANEW,
        )
    settings = settings_of(config)
    for name, value in settings.items():
        users = USED_BY.get(name, tuple(RECORDS))
        is_shared = control in users and any(each in users for each in config.only)
        if is_shared and file.explain.get(name) != value:
            raise InputError(
                f"{written} with {name}={file.explain.get(name)}, and {config.only[0]} is to be "
                f"run with {name}={value}",
                needed="the same for controls that stand side by side",
                hint=ANEW,
            )


def _of_arms(
    file: ControlFile[Any], arms: Sequence[Arm], path: str, progress: Progress
) -> ControlFile[Any] | None:
    """The same file of the models that are explained now; None where it is of none of them."""
    kept = [(r, d) for r, d in zip(file.arms, file.digests, strict=True) if r.arm in arms]
    for record in file.arms:
        if record.arm not in arms:
            progress.say(f"  {path}: {record.arm.in_full} is not explained now and is removed")
    if not kept:
        return None
    records, digests = zip(*kept, strict=True)
    left: ControlFile[Any] = file.model_copy(
        update={"arms": list(records), "digests": list(digests)}
    )
    return left


def _require_whole(study: StudyFolder) -> None:
    """Refuse files that are not as they were written.

    Raises:
        InputError: one is damaged, or nothing says what was written.
    """
    try:
        open_sealed(study.explain)
    except DamagedError as error:
        given = error.given if (study.explain / SEAL).exists() else f"{study.explain} has no {SEAL}"
        raise InputError(given, needed="the files as they were written", hint=ANEW) from error
