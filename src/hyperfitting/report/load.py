"""Read a study's files into records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.records import Generation, Measurement, Mode, MonitorRow, PairedTest
from hyperfitting.runs import RunFolder, StudyFolder
from hyperfitting.storage import read_json

Arm = tuple[str, int | None]  # name and training seed


@dataclass(frozen=True)
class Study:
    """What a report is made of."""

    info: Mapping[str, Any]
    rows: list[Measurement]
    tests: list[PairedTest]
    curves: dict[Arm, list[MonitorRow]]
    generations: dict[tuple[Arm, Mode], list[Generation]]

    @property
    def arms(self) -> list[Arm]:
        """Arms in the order they were measured: human, original, then the tuned ones."""
        return list(dict.fromkeys((row.arm, row.seed) for row in self.rows))

    def cell(self, arm: Arm, metric: str) -> Measurement | None:
        """The measurement of one arm, or None where it was not taken."""
        found = (r for r in self.rows if (r.arm, r.seed) == arm and r.metric == metric)
        return next(found, None)


def label(arm: Arm, arms: list[Arm]) -> str:
    """The arm's name, with its seed where several seeds of it stand side by side."""
    name, seed = arm
    repeated = sum(other == name for other, _ in arms) > 1
    return f"{name} (seed {seed})" if repeated else name


def read_study(folder: StudyFolder) -> Study:
    """Everything of an evaluated folder.

    Raises:
        InputError: the folder was not evaluated, or its files are damaged.
    """
    if not folder.study_file.exists():
        is_run = RunFolder(folder.path).manifest_file.exists()
        raise InputError(
            f"{folder.path} holds no evaluated run or study: there is no study.json",
            needed="a folder that `hyperfit demo` or `hyperfit evaluate` wrote",
            hint=f"run `hyperfit evaluate {folder.path}` first" if is_run else None,
        )
    info, measured = read_json(folder.study_file), read_json(folder.measurements_file)
    try:
        return Study(
            info,
            [Measurement(**row) for row in measured["rows"]],
            [PairedTest(**row) for row in measured["tests"]],
            {
                (run["arm"], run["seed"]): RunFolder(folder.path / run["path"]).metrics()
                for run in info["runs"]
            },
            {
                ((entry["arm"], entry["seed"]), entry["mode"]): folder.read_generations(
                    entry["file"]
                )
                for entry in info["generations"]
            },
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"the files in {folder.path} do not fit this version of hyperfitting: {error}",
            hint="run `hyperfit evaluate` again",
        ) from error
