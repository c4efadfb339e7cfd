"""Read a study's files into records."""

import re
from dataclasses import dataclass, field, replace
from functools import cached_property

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
from hyperfitting.records.exported import ExportFile
from hyperfitting.records.judged import Judgement, Judgements
from hyperfitting.records.matching import Matching
from hyperfitting.records.record import read_file
from hyperfitting.records.study import (
    Agreement,
    DecoderRun,
    MauveSettings,
    MeasurementsFile,
    StudyFile,
    TimingsFile,
    TunedEntry,
)
from hyperfitting.records.tasks import TaskResults, TaskScore
from hyperfitting.records.traces import TracesFile
from hyperfitting.report.explanation import Explained, read_explained
from hyperfitting.report.per_context import undefined_in_human_text
from hyperfitting.runs import RunFolder, StudyFolder

MAUVE_OF_HALVES = "one half against the other has another n: see below the table"


def _last_part(name: str) -> str:
    """The last part of a path; a hub id, which has two parts, stays whole."""
    parts = [part for part in re.split(r"[/\\]", name) if part]
    is_path = name[:1] in "/\\.~" or len(parts) > 2
    return parts[-1] if is_path and parts else name


@dataclass(frozen=True)
class Study:
    """What a report is made of."""

    info: StudyFile
    rows: list[Measurement]
    tests: list[PairedTest]
    curves: dict[Arm, list[MonitorRow]]
    generations: dict[tuple[Arm, Mode], list[Generation]]  # of arms that are no controls
    explained: Explained = field(default_factory=Explained)
    elsewhere: dict[str, list[Measurement]] = field(default_factory=dict)  # by other texts
    tokens_per_second: dict[Arm, float] = field(default_factory=dict)
    judgements: list[Judgement] = field(default_factory=list)
    tasks: list[TaskScore] = field(default_factory=list)
    exports: dict[Arm, list[ExportFile]] = field(default_factory=dict)
    traces: TracesFile | None = None  # None where an earlier version evaluated
    left_out: list[str] = field(default_factory=list)  # what is here and does not belong to it
    without_ttr: frozenset[int] = frozenset()  # contexts whose human text is of unknown tokens

    @property
    def domain(self) -> str:
        """The texts that the study is about."""
        return self.info.data.source

    @property
    def title(self) -> str:
        """Model and texts as a heading names them: of a path its last part."""
        return f"{_last_part(self.info.model.name)} on {_last_part(self.domain)}"

    @property
    def runs(self) -> list[TunedEntry]:
        """The tuned models."""
        return self.info.runs

    @property
    def matching(self) -> list[Matching]:
        """The original brought to each tuned model's entropy."""
        return self.info.entropy_matching

    @property
    def agreements(self) -> list[Agreement]:
        """Agreement of every two trainings of one kind."""
        return self.info.run_agreement

    @property
    def mauve(self) -> MauveSettings | None:
        """What MAUVE was taken with on the study's own texts."""
        return self.info.mauve

    def decoder_runs(self, arm: Arm) -> list[DecoderRun]:
        """How the texts of a decoder's arm came about; of a mean over trainings, those of each."""
        return [run for run in self.info.decoders if arm in (run.arm, run.arm.variant)]

    def is_drawn(self, arm: Arm) -> bool:
        """Whether the texts of an arm are drawn at random."""
        return arm.is_sampled or any(not run.is_deterministic for run in self.decoder_runs(arm))

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
    def at_loss(self) -> list[Arm]:
        """Checkpoints of tuned models that were kept at a training loss."""
        return [arm for arm in self.shown if arm.at_loss is not None]

    @property
    def first(self) -> Arm | None:
        """The tuned arm to speak of first: the one that changed most of the model."""
        on_text = [arm for arm in self.tuned if not arm.is_null]
        named = [arm for arm in on_text if arm.name == "hyperfitted"]
        return next(iter([*named, *on_text, *self.tuned]), None)

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
    """Everything of an evaluated folder, and what `hyperfit explain` and `judge` added.

    What they found on other texts than the evaluation's is left out, and `left_out` says so.

    Raises:
        InputError: the folder was not evaluated, or its files are damaged.
    """
    require_evaluated(folder)
    again = "run `hyperfit evaluate` again"
    about = folder.sealed()
    measured = read_file(MeasurementsFile, folder.measurements_file, again)
    others = [texts.data.source for texts in about.elsewhere]
    rows = measured.rows
    curves, without = _curves(folder, about)
    judgements, unread = _judgements(folder, about)
    exports, damaged = _exports(folder, about)
    explained = read_explained(folder, about.data.contexts_digest, about)
    return Study(
        info=about,
        rows=[row for row in rows if row.domain not in others],
        tests=[test for test in measured.tests if test.domain not in others],
        curves=curves,
        generations=_generations(folder, about),
        elsewhere={domain: [row for row in rows if row.domain == domain] for domain in others},
        tokens_per_second=_speeds(folder),
        judgements=judgements,
        tasks=_tasks(folder),
        exports=exports,
        traces=_traces(folder),
        explained=explained,
        without_ttr=undefined_in_human_text(folder, "ttr", about.data.source),
        left_out=[*without, *unread, *damaged, *explained.left_out],
    )


def require_evaluated(folder: StudyFolder) -> None:
    """Refuse a folder that holds no evaluation.

    Raises:
        InputError: there is none.
    """
    if not folder.is_evaluated:
        is_run = RunFolder(folder.path).manifest_file.exists()
        raise InputError(
            f"{folder.path} holds no evaluated run or study: there is no study.json",
            needed="a folder that `hyperfit demo` or `hyperfit evaluate` wrote",
            hint=f"run `hyperfit evaluate {folder.path}` first" if is_run else None,
        )


def _judgements(folder: StudyFolder, about: StudyFile) -> tuple[list[Judgement], list[str]]:
    """What `hyperfit judge` said of these texts, and a line on what it said of others."""
    path = folder.judge.results_file
    if not path.exists():
        return [], []
    found = read_file(Judgements, path, "run `hyperfit judge` again").comparisons
    texts = set(about.files.values())
    # A version that took no digests did not say which texts it read.
    fitting = [each for each in found if {each.a.texts, each.b.texts} - {None} <= texts]
    if len(fitting) == len(found) or not about.files:
        return found, []
    return fitting, [
        f"{len(found) - len(fitting)} of {len(found)} judgements in {path} are of other texts than "
        "these and are left out: run `hyperfit judge` again"
    ]


def _tasks(folder: StudyFolder) -> list[TaskScore]:
    """What the models still know, where that was asked."""
    path = folder.tasks_file
    if not path.exists():
        return []
    return read_file(TaskResults, path, "run `hyperfit evaluate --tasks` again").rows


def _exports(
    folder: StudyFolder, about: StudyFile
) -> tuple[dict[Arm, list[ExportFile]], list[str]]:
    """What was found of the exports of every run, and a line on what cannot be read."""
    found: dict[Arm, list[ExportFile]] = {}
    damaged = []
    for entry in about.runs:
        run = _run_of(folder, entry)
        for path in run.exported() if run is not None else ():
            try:
                file = read_file(ExportFile, path, "export that run again")
            except InputError as error:
                damaged.append(f"{error.given}: this export is left out")
            else:
                found.setdefault(entry.arm, []).append(file)
    return found, damaged


def _traces(folder: StudyFolder) -> TracesFile | None:
    """Some texts token by token."""
    if not folder.traces_file.exists():
        return None
    return read_file(TracesFile, folder.traces_file, "run `hyperfit evaluate` again")


def _speeds(folder: StudyFolder) -> dict[Arm, float]:
    """Tokens per second of every arm that was decoded here; of one too fast to time, nothing."""
    if not folder.timings_file.exists():
        return {}
    timed = read_file(TimingsFile, folder.timings_file, "run `hyperfit evaluate` again")
    found = ((each.arm, each.tokens_per_second) for each in timed.arms)
    return {arm: speed for arm, speed in found if speed is not None}


def _curves(folder: StudyFolder, about: StudyFile) -> tuple[dict[Arm, list[MonitorRow]], list[str]]:
    """Monitoring of every run, and a line on those that are not where they were.

    A checkpoint that is no run of ours has none.
    """
    curves, absent = {}, []
    for entry in about.runs:
        if entry.path is None:
            continue
        run, path = _run_of(folder, entry), folder.path / entry.path
        if run is not None:
            curves[entry.arm] = run.metrics()
        else:
            why = "is another training than was evaluated" if path.is_dir() else "is not there"
            absent.append(f"{path} {why}: the page is without its training curves")
    return curves, absent


def _run_of(folder: StudyFolder, entry: TunedEntry) -> RunFolder | None:
    """The run that an entry speaks of, where it still is where it was and as it was."""
    if entry.path is None or not (folder.path / entry.path).is_dir():
        return None
    run = RunFolder(folder.path / entry.path)
    manifest = run.started()
    return run if manifest is None or entry.is_of(manifest) else None


def _generations(folder: StudyFolder, about: StudyFile) -> dict[tuple[Arm, Mode], list[Generation]]:
    """The greedy texts of every model on the study's own texts."""
    found: dict[tuple[Arm, Mode], list[Generation]] = {}
    for entry in about.generations:
        is_own = entry.domain is None and not entry.arm.is_control
        if is_own and (entry.arm, entry.mode) not in found:
            found[entry.arm, entry.mode] = folder.read_generations(entry.file)
    return found
