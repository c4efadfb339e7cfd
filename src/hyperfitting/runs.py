"""The folders a run leaves: the only file that knows their paths.

A RUN holds one training run. A STUDY holds several arms side by side; a RUN that was
evaluated carries the study files itself and is a study of one.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from hyperfitting.errors import InputError
from hyperfitting.faults import writing
from hyperfitting.foreign import path_inside, require_own
from hyperfitting.records import Generation, MonitorRow
from hyperfitting.records.grid import GridFile
from hyperfitting.records.manifest import RunManifest
from hyperfitting.records.record import FieldError, read_file, read_rows
from hyperfitting.records.study import StudyFile
from hyperfitting.seals import (
    SEAL,
    STAGED,
    Files,
    files_of,
    finish_replacing,
    replaced_together,
    require_unchanged,
    seal,
)
from hyperfitting.storage import (
    LOCK,
    OWNER,
    only_writer,
    read_json,
    read_jsonl,
    sweep_temporaries_in,
    write_jsonl,
)

RowT = TypeVar("RowT")
UNFINISHED = ("explain-unfinished", "evaluate-unfinished")  # what a verb that was stopped has
KEPT_ARMS = "arms"  # what files of the second begin with that hold arms of a tuned model
LOADED = {".safetensors", ".bin", ".json", ".jinja", ".model"}  # of what loaders look for


class JudgeFolder:
    """Paths of a judgement: every answer, and what they come to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers_file = path / "answers.jsonl"
        self.results_file = path / "results.json"


class StudyFolder:
    """Paths and files of a STUDY (or of the study part of an evaluated RUN)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        self.settings_file = path / "settings.json"  # of a demo
        self.study_file = path / "study.json"
        self.measurements_file = path / "measurements.json"
        self.timings_file = path / "timings.json"
        self.per_context_file = path / "per_context.parquet"
        self.traces_file = path / "traces.json"
        self.generations = path / "generations"
        self.prefix_cache = path / "prefix-cache"
        self.explain = path / "explain"
        self.unfinished, self.unfinished_arms = (path / name for name in UNFINISHED)
        self.tasks_file = path / "tasks.json"
        self.judge = JudgeFolder(path / "judge")
        self.report = path / "report"
        self.report_file = self.report / "report.html"
        self.tables = self.report / "tables"
        self.figures = self.report / "figures"

    def run_path(self, arm: str, seed: int, null: str = "none") -> Path:
        """Where the study keeps the run of one arm and seed, on the texts or on a null."""
        return self.runs / f"{arm}{'' if null == 'none' else f'-{null}'}-seed-{seed}"

    def generations_file(self, arm: str, key: str) -> Path:
        """File of one arm's continuations; `key` digests mode, length, decoder and seed."""
        return self.generations / f"{arm}--{key}.jsonl"

    def explain_file(self, part: str) -> Path:
        """File of one control, by its name."""
        return self.explain / f"{part}.json"

    def require_own(self) -> None:
        """Refuse a folder whose links would have its files written elsewhere.

        `runs` and the cache are not written into here; a user may have moved them to a large disk.

        Raises:
            InputError: there is such a link.
        """
        moved = (self.path, self.runs, self.prefix_cache)
        paths = [path for path in vars(self).values() if isinstance(path, Path)]
        judged = (self.judge.path, self.judge.answers_file)
        more = (*judged, self.path / STAGED)
        require_own(self.path, [*(path for path in paths if path not in moved), *more])

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder, after what a killed writer left was put in place or swept away.

        Raises:
            InputError: another process writes to it, or what waits to be put in place would go
                through a link.
        """
        with only_writer(self.path):
            if (self.path / STAGED).exists():
                self.require_own()
            for folder in (self.path, self.explain, self.unfinished, self.unfinished_arms,
                           self.judge.path, self.report, self.tables, self.figures):  # fmt: skip
                sweep_temporaries_in(folder)
            finish_replacing(self.path)
            yield

    def put_in_place(self) -> None:
        """Finish what a writer was killed at: whole files that wait to take their places.

        Raises:
            InputError: as `writing`.
        """
        if (self.path / STAGED).is_dir():
            with self.writing():
                pass

    @contextmanager
    def replacing(self) -> Iterator["StudyFolder"]:
        """A folder whose files take the place of an evaluation's, together or not at all."""
        own = [self.study_file, self.measurements_file, self.timings_file, self.per_context_file,
               self.tasks_file, self.traces_file, *self.generations.glob("*.jsonl")]  # fmt: skip
        before = [path.relative_to(self.path).as_posix() for path in own if path.exists()]
        with replaced_together(self.path, before) as new:
            yield StudyFolder(new)

    @contextmanager
    def replacing_explanation(self, about: Mapping[str, Any]) -> Iterator["StudyFolder"]:
        """A folder whose `explain/` takes the place of an earlier one as a whole."""
        before = [path.relative_to(self.path).as_posix() for path in self.explain.glob("*.json")]
        with replaced_together(self.path, before) as folder:
            new = StudyFolder(folder)
            new.explain.mkdir()
            yield new
            seal(new.explain, about)

    @property
    def is_evaluated(self) -> bool:
        """Whether an evaluation is here, or one that waits to be put in place."""
        return self.study_file.exists() or (self.path / STAGED).is_dir()

    @property
    def lacks_tasks(self) -> bool:
        """Whether an evaluation was stopped in its tasks: its models are kept until these end."""
        has_models = any(self.unfinished_arms.glob(f"{KEPT_ARMS}-*.json"))
        return has_models and self.study_file.exists()

    def sealed(self) -> StudyFile:
        """What the study says of itself, after all that belongs to it was found as it was written.

        Raises:
            InputError: it was not evaluated; or a file is damaged, missing or of another
                evaluation.
        """
        again = "run `hyperfit evaluate` again"
        about = read_file(StudyFile, self.study_file, again)
        require_unchanged(self.path, about.files, wrote="the evaluation in study.json", again=again)
        return about

    def explained_files(self) -> list[Path]:
        """What `hyperfit explain` left here, one file per control."""
        return [path for path in sorted(self.explain.glob("*.json")) if path.name != SEAL]

    def write_generations(self, key: str, generations: list[Generation]) -> Path:
        """Write one arm's continuations and return the file's path."""
        path = self.generations_file(generations[0].arm, key)
        write_jsonl(path, (asdict(generation) for generation in generations))
        return path

    def read_generations(self, name: str) -> list[Generation]:
        """Continuations written under this path relative to the folder."""
        path = self.path / path_inside(name)
        return _rows(Generation, path, "run `hyperfit evaluate` again")


class ExportFolder:
    """Paths of what `hyperfit export` writes; a whole model or adapter lies in the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record_file = path / "export.json"
        self.card = path / "README.md"
        self.merged = path / "merged"  # what a conversion starts from
        self.modelfile = path / "Modelfile"

    def gguf_file(self, name: str, kind: str) -> Path:
        """The GGUF file of a model with weights of this kind."""
        return self.path / f"{name}-{kind.upper()}.gguf"


class FixFolder:
    """Paths of what `hyperfit fix` writes: what it found, the RUN, and its export."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_file = path / "settings.json"
        self.diagnosis_file = path / "diagnosis.json"
        self.examination_file = path / "examination.json"
        self.steps_file = path / "steps.json"
        self.answers_file = path / "answers.json"
        self.fix_file = path / "fix.json"
        self.run = path / "run"
        self.export = path / "export"

    def require_ours(self) -> None:
        """Refuse a folder that holds something else.

        Raises:
            InputError: it does, or its links would have files written elsewhere.
        """
        require_own(self.path, [path for path in vars(self).values() if isinstance(path, Path)])
        if not self.settings_file.exists():
            require_free(self.path)


class GridFolder:
    """Paths of what `hyperfit study` writes: a STUDY for each model and source, side by side."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.grid_file = path / "grid.json"
        self.logs = path / "logs"
        self.report = path / "report"
        self.report_file = self.report / "report.html"
        self.tables = self.report / "tables"

    def require_ours(self) -> None:
        """Refuse a folder that holds something else than a study of several models.

        Raises:
            InputError: it does, or its links would have files written elsewhere.
        """
        require_own(self.path, [self.grid_file, self.logs, self.report, self.report_file])
        if not self.grid_file.exists():
            require_free(self.path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder.

        Raises:
            InputError: another process writes to it.
        """
        with only_writer(self.path):
            for folder in (self.path, self.report, self.tables):
                sweep_temporaries_in(folder)
            yield

    def grid(self) -> GridFile:
        """The plan, its cells, and how far every step is.

        Raises:
            InputError: there is none, or it does not fit.
        """
        return read_file(GridFile, self.grid_file, "run `hyperfit study` again")


class RunFolder:
    """Paths and files of a RUN."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_file = path / "manifest.json"
        self.metrics_file = path / "metrics.jsonl"
        self.figure_file = path / "metrics.png"
        self.trackers = path / "trackers"  # of those that write files
        self.windows_file = path / "windows.safetensors"
        self.checkpoints = path / "checkpoints"
        self.adapter = path / "adapter"
        self.model = path / "model"
        self.exports = path / "exports"  # what was found of each export, wherever it lies
        self.own_texts = self.exports / "texts"  # that every export is held against

    def export_file(self, key: str) -> Path:
        """What `hyperfit export` found; `key` digests form, type and strength."""
        return self.exports / f"{key}.json"

    def own_texts_file(self, key: str) -> Path:
        """Greedy texts of the run; `key` digests all that they depend on."""
        return self.own_texts / f"{key}.json"

    def exported(self) -> list[Path]:
        """What `hyperfit export` found, one file for each form, type and strength."""
        return sorted(self.exports.glob("*.json"))

    def require_own(self) -> None:
        """Refuse a folder whose links would have its files written elsewhere.

        Raises:
            InputError: there is such a link.
        """
        require_own(self.path, [path for path in vars(self).values() if isinstance(path, Path)])

    @property
    def result(self) -> Path:
        """The trained adapter or model."""
        return self.adapter if self.adapter.is_dir() else self.model

    def manifest(self) -> RunManifest:
        """The manifest of a finished run.

        Raises:
            InputError: no run here, one that did not finish, or a manifest that does not fit.
        """
        if not self.manifest_file.exists():
            raise InputError(
                f"{self.path} holds no run: there is no manifest.json",
                needed="a folder that `hyperfit train` or `hyperfit demo` wrote",
            )
        status = self._status()
        if status != "complete":
            raise InputError(
                f"the run in {self.path} did not finish (status {status!r})",
                needed="a finished run",
                hint=f"hyperfit train --resume --out {shlex.quote(str(self.path))}",
            )
        return read_file(RunManifest, self.manifest_file, "train that run again")

    def whole(self) -> RunManifest:
        """The manifest of a finished run whose windows, metrics and result are as it left them.

        Runs of versions that took no digests are not compared.

        Raises:
            InputError: as `manifest`; or a file is missing, has another content or was added.
        """
        manifest = self.manifest()
        again = "restore that file, or train that run again"
        require_unchanged(self.path, manifest.files, wrote="training", again=again)
        if not manifest.files:
            return manifest
        for folder in (self.adapter, self.model):
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(self.path).as_posix()
                if path.suffix in LOADED and path.is_file() and name not in manifest.files:
                    raise InputError(
                        f"{path} was added after training",
                        needed="the result as training wrote it",
                        hint="move it elsewhere",
                    )
        return manifest

    def sealed_files(self) -> Files:
        """The digests of all that a finished run is read from again."""
        kept = [path for path in (self.windows_file, self.metrics_file) if path.exists()]
        return files_of(self.path, [*kept, self.result])

    def started(self) -> RunManifest | None:
        """The manifest of a run that may not have finished; None where none was started.

        Raises:
            InputError: the manifest does not fit.
        """
        if not self.manifest_file.exists():
            return None
        return read_file(RunManifest, self.manifest_file, "train that run again")

    def _status(self) -> Any:
        """How far the run is, whatever else the manifest says."""
        content = read_json(self.manifest_file)
        return content.get("status") if isinstance(content, Mapping) else None

    def append_metrics(self, row: MonitorRow) -> None:
        """Add one monitoring point to `metrics.jsonl`."""
        with writing(self.metrics_file), self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row), allow_nan=False) + "\n")

    def replace_metrics(self, rows: Sequence[MonitorRow]) -> None:
        """Write `metrics.jsonl` anew, as a resumed run does with its checkpoint's rows."""
        write_jsonl(self.metrics_file, (asdict(row) for row in rows))

    def metrics(self) -> list[MonitorRow]:
        """All monitoring points of a run, in order; empty where monitoring was off.

        Raises:
            InputError: the file of a finished run is not as training left it.
        """
        again = "train that run again, or report its study from another place"
        manifest = self.started()
        name = self.metrics_file.name
        if manifest is not None and manifest.status == "complete" and name in manifest.files:
            sealed = {name: manifest.files[name]}
            require_unchanged(self.path, sealed, wrote="training", again=again)
        if not self.metrics_file.exists():
            return []
        return _rows(MonitorRow, self.metrics_file, again)


def _rows(kind: type[RowT], path: Path, again: str) -> list[RowT]:
    """The rows of a .jsonl file, every field of its own type."""
    try:
        return read_rows(kind, read_jsonl(path), "rows")
    except FieldError as error:
        raise InputError(
            f"{path} does not fit this version of hyperfitting: {error}", hint=again
        ) from error


def require_free(path: Path) -> None:
    """Refuse a folder that already holds something.

    Raises:
        InputError: `path` is a file, or a folder that is not empty.
    """
    blocking = next((p for p in (path, *path.parents) if p.is_file()), None)
    if blocking:
        raise InputError(
            f"the output folder cannot be {path}: {blocking} is a file",
            needed="a new or empty folder",
        )
    # What a run or an evaluation leaves that was killed before it wrote anything whole.
    staged = (f".{RunFolder(path).manifest_file.name}.", f".{STAGED}.")
    unfinished = (LOCK, OWNER, *UNFINISHED, *staged)
    if path.is_dir() and any(not p.name.startswith(unfinished) for p in path.iterdir()):
        raise InputError(
            f"the output folder {path} holds {_held(path)}",
            needed="a new or empty folder",
            hint="choose another --out, or delete that folder first",
        )


def _held(path: Path) -> str:
    """What a folder that is not empty holds."""
    known = {
        "another run": RunFolder(path).manifest_file.exists(),
        "a study of several models": GridFolder(path).grid_file.exists(),
        "a study": StudyFolder(path).is_evaluated,
        "an export": ExportFolder(path).record_file.exists(),
        "what `hyperfit fix` or `hyperfit demo` began": FixFolder(path).settings_file.exists(),
    }
    return next((held for held, is_there in known.items() if is_there), "other files")


def numbered(stem: str) -> Iterator[Path]:
    """`stem`, `stem-2`, `stem-3`, ..."""
    return (Path(stem if number == 1 else f"{stem}-{number}") for number in count(1))
