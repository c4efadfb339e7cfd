"""Read a study's files into records."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
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
from hyperfitting.records.arms import HUMAN, label
from hyperfitting.report.explanation import Explained, read_explained
from hyperfitting.report.fields import FieldError, Fields, arm_in
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
    require_shown,
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
        return {row.key: row.num_seeds for row in self.rows}

    @cached_property
    def shown(self) -> list[Arm]:
        """One arm per name and parameters: the mean over seeds where there are several."""
        arms: dict[Arm, None] = {}
        for arm in self.num_seeds:
            is_averaged = self.num_seeds.get(arm.variant, 1) > 1
            arms[arm.variant if is_averaged else arm] = None
        return list(arms)

    @property
    def arms(self) -> list[Arm]:
        """Every arm and every seed; a mean over seeds stands before its seeds."""
        single = [arm for arm in self.num_seeds if self.num_seeds[arm] == 1]
        found = []
        for arm in self.shown:
            found.append(arm)
            found += [each for each in single if each.variant == arm.variant and each != arm]
        return found

    @property
    def greedy(self) -> list[Arm]:
        """The human text and what the models write greedily at their own temperature."""
        return [arm for arm in self.shown if not arm.is_control]

    @property
    def tuned(self) -> list[Arm]:
        """The tuned models, decoded greedily."""
        return [arm for arm in self.shown if arm.is_tuned]

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
            cells.setdefault((row.key, row.metric), []).append(row)
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
        return next(iter(self._cells.get((HUMAN, "mauve"), [])), None)

    def prefixes(self, metric: str) -> list[Prefix | None]:
        """The kinds of prefix that a metric was taken on."""
        return list(dict.fromkeys(r.prefix for r in self.rows if r.metric == metric and r.n))


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
    again = "run `hyperfit evaluate` again"
    with _naming(folder.study_file, again):
        about = Fields.of(read_json(folder.study_file))
        require_shown(about)
        digest = about.at("data").text("contexts_digest")
        others = [texts.at("data").text("source") for texts in about.each("elsewhere")]
        decoders = [read_decoder(entry) for entry in about.each("decoders")]
        study = Study(
            about.content, [], [], _curves(folder, about), _generations(folder, about),
            [read_run(entry) for entry in about.each("runs")],
            [read_matching(entry) for entry in about.each("entropy_matching")],
            [read_agreement(entry) for entry in about.each("run_agreement")],
            decoders={decoder.arm: decoder for decoder in decoders},
            mauve=read_mauve(about.at("mauve")),
        )  # fmt: skip
    with _naming(folder.measurements_file, again):
        measured = Fields.of(read_json(folder.measurements_file))
        rows = measured.records("rows", Measurement)
        tests = measured.records("tests", PairedTest)
    return replace(
        study,
        rows=[row for row in rows if row.domain not in others],
        tests=[test for test in tests if test.domain not in others],
        elsewhere={domain: [row for row in rows if row.domain == domain] for domain in others},
        tokens_per_second=_speeds(folder),
        judgements=_judgements(folder),
        tasks=_tasks(folder),
        explained=read_explained(folder, digest),
    )


@contextmanager
def _naming(path: Path, hint: str) -> Iterator[None]:
    """Name the file in which a field does not fit."""
    try:
        yield
    except FieldError as error:
        raise InputError(
            f"{path} does not fit this version of hyperfitting: {error}", hint=hint
        ) from error


def _judgements(folder: StudyFolder) -> list[Judgement]:
    """What `hyperfit judge` added; nothing where it did not run."""
    path = folder.judgements_file
    if not path.exists():
        return []
    with _naming(path, "run `hyperfit judge` again"):
        return [read_judgement(each) for each in Fields.of(read_json(path)).each("comparisons")]


def _tasks(folder: StudyFolder) -> list[TaskScore]:
    """What the models still know, where that was asked."""
    path = folder.tasks_file
    if not path.exists():
        return []
    with _naming(path, "run `hyperfit evaluate --tasks` again"):
        return [read_task_score(row) for row in Fields.of(read_json(path)).each("rows")]


def _speeds(folder: StudyFolder) -> dict[Arm, float]:
    """Tokens per second of every arm that was decoded here; of one too fast to time, nothing."""
    path = folder.timings_file
    if not path.exists():
        return {}
    with _naming(path, "run `hyperfit evaluate` again"):
        entries = Fields.of(read_json(path)).each("arms")
        found = [(arm_in(entry), entry.maybe_number("tokens_per_second")) for entry in entries]
    return {arm: speed for arm, speed in found if speed is not None}


def _curves(folder: StudyFolder, about: Fields) -> dict[Arm, list[MonitorRow]]:
    """Monitoring of every run; a checkpoint that is no run of ours has none."""
    return {
        arm_in(run): _monitored(RunFolder(folder.path / run.text("path")))
        for run in about.each("runs")
        if run.raw("path") is not None
    }


def _monitored(run: RunFolder) -> list[MonitorRow]:
    """The monitoring points of a run, every field of its own type."""
    with _naming(run.metrics_file, "train that run again, or leave its metrics.jsonl out"):
        return Fields({"rows": [asdict(row) for row in run.metrics()]}).records("rows", MonitorRow)


def _generations(folder: StudyFolder, about: Fields) -> dict[tuple[Arm, Mode], list[Generation]]:
    found: dict[tuple[Arm, Mode], list[Generation]] = {}
    for entry in about.each("generations"):
        if "domain" in entry:  # other texts
            continue
        parameters = entry.at("arm_parameters").content
        arm = Arm.named(entry.text("arm"), entry.maybe_whole("seed"), parameters)
        mode: Mode = "natural" if entry.text("mode") == "natural" else "fixed_length"
        if (arm, mode) not in found and not arm.is_control:
            found[arm, mode] = folder.read_generations(entry.text("file"))
    return found
