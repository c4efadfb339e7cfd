"""Read a study's files into records."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.records import (
    Arm,
    Generation,
    Measurement,
    Mode,
    MonitorRow,
    PairedTest,
    Prefix,
)
from hyperfitting.report.arms import arm_of, is_control, is_tuned, label, variant
from hyperfitting.report.explained import read_explained
from hyperfitting.report.findings import Explained
from hyperfitting.report.listed import (
    Agreement,
    Decoder,
    Judgement,
    Matching,
    MauveSettings,
    Run,
    TaskScore,
    read_agreement,
    read_decoder,
    read_judgement,
    read_matching,
    read_mauve,
    read_run,
    read_task_score,
)
from hyperfitting.runs import RunFolder, StudyFolder
from hyperfitting.storage import read_json

MAUVE_OF_HALVES = "one half against the other has another n: see below the table"


@dataclass(frozen=True)
class Study:
    """What a report is made of."""

    info: Mapping[str, Any]
    rows: list[Measurement]
    tests: list[PairedTest]
    curves: dict[Arm, list[MonitorRow]]
    generations: dict[tuple[Arm, Mode], list[Generation]]  # of arms that are no controls
    runs: list[Run] = field(default_factory=list)
    matching: list[Matching] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    explained: Explained = field(default_factory=Explained)
    elsewhere: dict[str, list[Measurement]] = field(default_factory=dict)  # by other texts
    decoders: dict[Arm, Decoder] = field(default_factory=dict)
    tokens_per_second: dict[Arm, float] = field(default_factory=dict)
    mauve: MauveSettings | None = None
    judgements: list[Judgement] = field(default_factory=list)
    tasks: list[TaskScore] = field(default_factory=list)

    @property
    def domain(self) -> str:
        """The texts that the study is about."""
        return str(self.info["data"]["source"])

    def on(self, domain: str) -> "Study":
        """The same arms on other texts, greedy only."""
        return replace(self, rows=self.elsewhere[domain], tests=[], elsewhere={})

    @cached_property
    def num_seeds(self) -> dict[Arm, int]:
        """All arms in the order they were measured, and over how many trainings each is a mean."""
        return {_arm(row): row.num_seeds for row in self.rows}

    @cached_property
    def shown(self) -> list[Arm]:
        """One arm per name and parameters: the mean over seeds where there are several."""
        arms: dict[Arm, None] = {}
        for arm in self.num_seeds:
            is_averaged = self.num_seeds.get(variant(arm), 1) > 1
            arms[variant(arm) if is_averaged else arm] = None
        return list(arms)

    @property
    def arms(self) -> list[Arm]:
        """Every arm and every seed; a mean over seeds stands before its seeds."""
        single = [arm for arm in self.num_seeds if self.num_seeds[arm] == 1]
        found = []
        for arm in self.shown:
            found.append(arm)
            found += [each for each in single if variant(each) == variant(arm) and each != arm]
        return found

    @property
    def greedy(self) -> list[Arm]:
        """The human text and what the models write greedily at their own temperature."""
        return [arm for arm in self.shown if not is_control(arm)]

    @property
    def tuned(self) -> list[Arm]:
        """The tuned models, decoded greedily."""
        return [arm for arm in self.shown if is_tuned(arm)]

    @property
    def first(self) -> Arm | None:
        """The tuned arm to speak of first: the one that changed most of the model."""
        named = [arm for arm in self.tuned if arm.name == "hyperfitted"]
        return next(iter([*named, *self.tuned]), None)

    def label(self, arm: Arm) -> str:
        """What the report calls an arm."""
        return label(arm, self.num_seeds, self.num_seeds.get(arm, 1))

    @cached_property
    def _cells(self) -> dict[tuple[Arm, str], list[Measurement]]:
        cells: dict[tuple[Arm, str], list[Measurement]] = {}
        for row in self.rows:
            cells.setdefault((_arm(row), row.metric), []).append(row)
        return cells

    def cell(self, arm: Arm, metric: str, prefix: Prefix | None = None) -> Measurement | None:
        """The measurement of one arm, or None where it was not taken.

        Of a metric taken on both kinds of prefix the one asked for, else the first, which is on
        the arm's own path. What human text cannot have is said once, for both. MAUVE of human text
        is of its halves, with another n: it is no cell of the arms' column.
        """
        if (arm.name, metric) == ("human", "mauve"):
            whole = self.human_mauve
            return whole and replace(
                whole, mean=None, low=None, high=None, n=0, reason=MAUVE_OF_HALVES
            )
        found = self._cells.get((arm, metric), [])
        of_prefix = [row for row in found if prefix is None or row.prefix == prefix]
        without = [row for row in found if row.mean is None]
        return next(iter([*of_prefix, *without]), None)

    def has(self, arm: Arm, metric: str) -> bool:
        """Whether a metric of an arm was measured, for at least one context."""
        found = self.cell(arm, metric)
        return found is not None and found.n > 0

    @property
    def human_mauve(self) -> Measurement | None:
        """MAUVE of one half of the human texts against the other."""
        return next(iter(self._cells.get((Arm("human"), "mauve"), [])), None)

    def prefixes(self, metric: str) -> list[Prefix | None]:
        """The kinds of prefix that a metric was taken on."""
        return list(dict.fromkeys(r.prefix for r in self.rows if r.metric == metric and r.n))


def _arm(row: Measurement) -> Arm:
    return arm_of(row.arm, row.seed, row.parameters)


def read_study(folder: StudyFolder) -> Study:
    """Everything of an evaluated folder, and what `hyperfit explain` added.

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
        digest = info["data"]["contexts_digest"]
        rows = [Measurement(**row) for row in measured["rows"]]
        others = [texts["data"]["source"] for texts in info["elsewhere"]]
        tests = [PairedTest(**row) for row in measured["tests"]]
        decoders = [read_decoder(entry) for entry in info["decoders"]]
        study = Study(
            info,
            [row for row in rows if row.domain not in others],
            [test for test in tests if test.domain not in others],
            _curves(folder, info),
            _generations(folder, info),
            [read_run(entry) for entry in info["runs"]],
            [read_matching(entry) for entry in info["entropy_matching"]],
            [read_agreement(entry) for entry in info["run_agreement"]],
            elsewhere={domain: [row for row in rows if row.domain == domain] for domain in others},
            decoders={decoder.arm: decoder for decoder in decoders},
            tokens_per_second=_speeds(folder),
            mauve=read_mauve(info["mauve"]),
            judgements=_judgements(folder),
            tasks=_tasks(folder),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"the files in {folder.path} do not fit this version of hyperfitting: {error}",
            hint="run `hyperfit evaluate` again",
        ) from error
    return replace(study, explained=read_explained(folder, digest))


def _judgements(folder: StudyFolder) -> list[Judgement]:
    """What `hyperfit judge` added; nothing where it did not run."""
    if not folder.judgements_file.exists():
        return []
    return [read_judgement(e) for e in read_json(folder.judgements_file)["comparisons"]]


def _tasks(folder: StudyFolder) -> list[TaskScore]:
    """What the models still know, where that was asked."""
    if not folder.tasks_file.exists():
        return []
    return [read_task_score(row) for row in read_json(folder.tasks_file)["rows"]]


def _speeds(folder: StudyFolder) -> dict[Arm, float]:
    """Tokens per second of every arm that was decoded here."""
    if not folder.timings_file.exists():
        return {}
    return {
        arm_of(entry["arm"], entry["seed"], entry["parameters"]): entry["tokens_per_second"]
        for entry in read_json(folder.timings_file)["arms"]
    }


def _curves(folder: StudyFolder, info: Mapping[str, Any]) -> dict[Arm, list[MonitorRow]]:
    """Monitoring of every run; a checkpoint that is no run of ours has none."""
    return {
        arm_of(run["arm"], run["seed"], run["parameters"]): RunFolder(
            folder.path / run["path"]
        ).metrics()
        for run in info["runs"]
        if run["path"] is not None
    }


def _generations(
    folder: StudyFolder, info: Mapping[str, Any]
) -> dict[tuple[Arm, Mode], list[Generation]]:
    found: dict[tuple[Arm, Mode], list[Generation]] = {}
    for entry in info["generations"]:
        if "domain" in entry:  # other texts
            continue
        key = (arm_of(entry["arm"], entry["seed"], entry["arm_parameters"]), entry["mode"])
        if key not in found and not is_control(key[0]):
            found[key] = folder.read_generations(entry["file"])
    return found
