"""What `evaluate` and `explain` are given, as a value, and the one place that opens it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field

from hyperfitting.compare.checkpoints import open_checkpoints
from hyperfitting.compare.comparison import Comparison, Here
from hyperfitting.compare.domains import open_runs_on
from hyperfitting.compare.kept import NOTHING, Kept
from hyperfitting.compare.runs import open_runs
from hyperfitting.config import CheckpointsConfig
from hyperfitting.errors import InputError
from hyperfitting.progress import Progress
from hyperfitting.records.record import FileRecord, Record, read_file
from hyperfitting.records.study import TunedEntry
from hyperfitting.runs import UNFINISHED, RunFolder, StudyFolder, require_free
from hyperfitting.storage import LOCK, OWNER


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Run folders, or studies whose runs are taken again.

    `data` names the texts, by default those the runs were trained on; `text_field` is their
    column.
    """

    folders: tuple[Path, ...]
    data: tuple[str, ...] = ()
    text_field: str | None = None

    def __post_init__(self) -> None:  # whoever writes one by hand may name them by texts
        folders: Any = self.folders
        folders = (folders,) if isinstance(folders, str | Path) else folders
        data = (self.data,) if isinstance(self.data, str) else self.data
        object.__setattr__(self, "folders", tuple(map(Path, folders)))
        object.__setattr__(self, "data", tuple(data))


@dataclass(frozen=True)
class Opened:
    """Models that are at hand, in memory for example; one comparison for each set of texts."""

    comparisons: tuple[Comparison, ...]


CHECKPOINTS = ("best checkpoints (best_val)", "checkpoints at a training loss (at_loss)")
Subject = Runs | CheckpointsConfig | Opened
Given = Subject | Comparison | str | Path | Sequence[str | Path]  # folders are of runs


class _Day(Record):
    template_date: date | None = Field(None, strict=False)
    contexts_digest: str | None = None


class _Before(FileRecord):
    """What of an earlier `study.json` is used again."""

    runs: list[TunedEntry] = Field(default_factory=list)
    data: _Day = _Day()
    contexts_digest: str | None = None  # of a file of the controls


def subject_of(given: Given) -> Subject:
    """Runs or checkpoints from whatever a caller names them by."""
    if isinstance(given, Runs | CheckpointsConfig | Opened):
        return given
    if isinstance(given, Comparison):
        return Opened((given,))
    folders = (given,) if isinstance(given, str | Path) else given
    return Runs(folders=tuple(map(Path, folders)))


def new_study(subject: Subject, out: str | Path | None) -> StudyFolder:
    """The folder that is written: `out`, or the one folder that was given.

    `out` may hold the runs that are given, as a demo that was interrupted leaves them, or a study
    whose tasks were stopped.

    Raises:
        InputError: `out` is taken, or missing where it is needed.
    """
    if isinstance(subject, Runs):
        run_folders(subject.folders)  # now, and not after tasks and models were looked for
    if out is not None:
        out = Path(out)
        StudyFolder(out).put_in_place()
        if not _is_around(out, subject) and not StudyFolder(out).lacks_tasks:
            require_free(out)
        return StudyFolder(out)
    if isinstance(subject, Runs) and len(subject.folders) == 1:
        return StudyFolder(subject.folders[0])
    given = f"{len(subject.folders)} folders are" if isinstance(subject, Runs) else "models are"
    raise InputError(
        f"{given} given, but no place for the comparison", needed="--out with a new folder"
    )


def study_to_explain(subject: Subject, out: str | Path | None) -> StudyFolder:
    """The folder that controls are written to: a new one, or a study of the same texts.

    Raises:
        InputError: as `new_study`; or runs on other texts without a folder of their own.
    """
    has_texts = not isinstance(subject, Runs) or subject.data  # `require_texts_of` compares them
    study = None if out is None else StudyFolder(Path(out))
    if study and (has_texts if study.study_file.exists() else study.explain.is_dir()):
        return study
    if isinstance(subject, Runs) and subject.data and out is None:
        raise InputError(
            "other texts (--data) are given, but no place for what is found on them",
            needed="--out with a new folder",
        )
    return new_study(subject, out)


def _is_around(out: Path, subject: Subject) -> bool:
    """Whether `out` is the folder of a study that holds these runs.

    One that was evaluated is evaluated again with them; else it holds nothing but them.
    """
    if not isinstance(subject, Runs):
        return False
    study = StudyFolder(out)
    own = {study.runs.name, study.settings_file.name, study.prefix_cache.name, *UNFINISHED, LOCK,
           OWNER}  # fmt: skip
    holds_more = out.is_dir() and not {path.name for path in out.iterdir()} <= own
    parents = {folder.resolve().parent for folder in subject.folders}
    is_evaluated = study.study_file.exists()
    return parents == {study.runs.resolve()} and (is_evaluated or not holds_more)


def open_subject(
    subject: Subject, here: Here, progress: Progress, kept: Kept = NOTHING
) -> list[Comparison]:
    """One comparison for each set of texts; the first is what a study is about.

    `kept` says which checkpoints of runs are arms too.

    Raises:
        InputError: no finished runs there, models that cannot be compared, or texts that do not
            serve.
    """
    for what, is_asked in zip(CHECKPOINTS, (kept.best_val, kept.at_loss), strict=True):
        if is_asked and not isinstance(subject, Runs):
            raise InputError(
                f"{what} are asked for of models that are no runs",
                needed="run folders, or without this setting",
            )
    if isinstance(subject, Opened):
        return list(subject.comparisons)
    if isinstance(subject, CheckpointsConfig):
        return [open_checkpoints(subject, here, progress)]
    folders = run_folders(subject.folders)
    if subject.data:
        return open_runs_on(folders, subject.data, subject.text_field, here, progress, kept=kept)
    if subject.text_field is not None:
        raise InputError(
            f"the column {subject.text_field!r} (--text-field) is given without texts",
            needed="--data with the texts that have it, or without --text-field",
        )
    return [open_runs(folders, here, kept, progress)]


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """The runs at these folders, and those of the studies among them.

    Raises:
        InputError: one is neither, or compares checkpoints that are no runs.
    """
    if not folders:
        raise InputError("no folder is given", needed="a run or a study, for example my-run")
    runs: list[Path] = []
    for path in folders:
        study = StudyFolder(path)
        if not study.study_file.exists():
            RunFolder(path).manifest()
            runs.append(path)
            continue
        # Checkpoints that are arms are of these runs and have no folder.
        listed = [entry for entry in _listed(study) if not entry.arm.is_checkpoint]
        if not listed:
            raise InputError(f"{study.study_file} lists no runs", needed="a whole study")
        if not all(entry.path for entry in listed):
            raise InputError(
                f"{path} compares checkpoints that are no runs", needed="--base and --tuned again"
            )
        runs += [path / name for name in dict.fromkeys(entry.path or "" for entry in listed)]
    return runs


def _listed(study: StudyFolder) -> list[TunedEntry]:
    return read_file(_Before, study.study_file, "give its runs/ARM-seed-S folders").runs


def require_texts_of(paths: Sequence[Path], comparison: Comparison, hint: str) -> None:
    """Refuse other held-out texts than those that files of a folder already speak of.

    Raises:
        InputError: one of them is of other texts; `hint` says what else can be done.
    """
    digest = comparison.data["contexts_digest"]
    for path in paths:
        before = read_file(_Before, path, "choose another --out")
        known = before.contexts_digest or before.data.contexts_digest
        if known is not None and known != digest:
            raise InputError(
                f"{path} is of other held-out texts than {comparison.domain}",
                needed="--out with a new folder, or the same texts",
                hint=hint,
            )


def on_its_day(checkpoints: CheckpointsConfig, study: StudyFolder) -> CheckpointsConfig:
    """The same checkpoints on texts of the day that the study's chat template wrote."""
    if not study.study_file.exists() or checkpoints.data.template_date is not None:
        return checkpoints
    written = read_file(_Before, study.study_file, "choose another --out").data.template_date
    if not written:
        return checkpoints
    data = checkpoints.data.model_copy(update={"template_date": written})
    return checkpoints.model_copy(update={"data": data})
