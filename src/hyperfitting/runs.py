"""The folders a run leaves: the only file that knows their paths.

A RUN holds one training run. A STUDY holds several arms side by side; a RUN that was
evaluated carries the study files itself and is a study of one.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.records import Generation, MonitorRow


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either the old content or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_synced(temporary, text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON (NaN is refused: undefined is null) in one piece."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line in one piece."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_json(path: Path) -> Any:
    """Content of a JSON file of ours.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist", needed="a finished run or study folder"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="the folder is damaged; run the stage again"
        ) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of a file that `write_jsonl` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        # Not splitlines: it would also cut at characters that JSON leaves unescaped.
        lines = path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="the folder is damaged; run the stage again"
        ) from error


class StudyFolder:
    """Paths and files of a STUDY (or of the study part of an evaluated RUN)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study_file = path / "study.json"
        self.measurements_file = path / "measurements.json"
        self.per_context_file = path / "per_context.parquet"
        self.generations = path / "generations"
        self.report = path / "report"
        self.report_file = self.report / "report.html"
        self.tables = self.report / "tables"
        self.figures = self.report / "figures"

    def run_path(self, arm: str, seed: int) -> Path:
        """Where the study keeps the run of one arm and seed."""
        return self.path / "runs" / f"{arm}-seed-{seed}"

    def generations_file(self, arm: str, key: str) -> Path:
        """File of one arm's continuations; `key` digests mode, length, decoder and seed."""
        return self.generations / f"{arm}--{key}.jsonl"

    def clear_generations(self) -> None:
        """Remove the continuations of an earlier evaluation."""
        for path in self.generations.glob("*.jsonl"):
            path.unlink()

    def write_generations(self, key: str, generations: list[Generation]) -> Path:
        """Write one arm's continuations and return the file's path."""
        path = self.generations_file(generations[0].arm, key)
        write_jsonl(path, (asdict(generation) for generation in generations))
        return path

    def read_generations(self, name: str) -> list[Generation]:
        """Continuations written under this path relative to the folder."""
        path = self.path / name
        try:
            return [Generation(**row) for row in read_jsonl(path)]
        except TypeError as error:
            raise InputError(
                f"{path} cannot be read: {error}", hint="run `hyperfit evaluate` again"
            ) from error


class RunFolder:
    """Paths and files of a RUN."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_file = path / "manifest.json"
        self.metrics_file = path / "metrics.jsonl"
        self.windows_file = path / "windows.safetensors"
        self.adapter = path / "adapter"
        self.model = path / "model"

    @property
    def result(self) -> Path:
        """The trained adapter or model."""
        return self.adapter if self.adapter.is_dir() else self.model

    def manifest(self) -> dict[str, Any]:
        """The manifest of a finished run.

        Raises:
            InputError: no run here, or one that did not finish.
        """
        if not self.manifest_file.exists():
            raise InputError(
                f"{self.path} holds no run: there is no manifest.json",
                needed="a folder that `hyperfit train` or `hyperfit demo` wrote",
            )
        manifest: dict[str, Any] = read_json(self.manifest_file)
        if manifest.get("status") != "complete":
            raise InputError(
                f"the run in {self.path} did not finish (status {manifest.get('status')!r})",
                needed="a finished run",
                hint="train again into a new folder",
            )
        return manifest

    def append_metrics(self, row: MonitorRow) -> None:
        """Add one monitoring point to `metrics.jsonl`."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row), allow_nan=False) + "\n")

    def metrics(self) -> list[MonitorRow]:
        """All monitoring points, in order; empty where monitoring was off."""
        if not self.metrics_file.exists():
            return []
        try:
            return [MonitorRow(**row) for row in read_jsonl(self.metrics_file)]
        except TypeError as error:
            raise InputError(f"{self.metrics_file} cannot be read: {error}") from error


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
    if path.is_dir() and any(path.iterdir()):
        held = "another run" if RunFolder(path).manifest_file.exists() else "other files"
        held = "a study" if StudyFolder(path).study_file.exists() else held
        raise InputError(
            f"the output folder {path} holds {held}",
            needed="a new or empty folder",
            hint="choose another --out, or delete that folder first",
        )


def first_free(stem: str) -> Path:
    """`stem`, or `stem-2`, `stem-3`, ...: the first that does not exist yet."""
    candidates: Iterator[Path] = (
        Path(stem if number == 1 else f"{stem}-{number}") for number in range(1, 10_000)
    )
    return next(path for path in candidates if not path.exists())


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
