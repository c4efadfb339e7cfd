"""Records to table cells. Every number of the report gets its text here, and here only."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hyperfitting.measure.catalogue import METRICS
from hyperfitting.records import SIGNIFICANT, Arm, Measurement, PairedTest, Prefix
from hyperfitting.records.arms import label
from hyperfitting.records.estimates import Estimate
from hyperfitting.report.load import Study
from hyperfitting.untrusted import printable

MISSING = "–"
Content = dict[str, Any]  # what the template of a section reads as `section`
FIXED_LOOPED = "looped (fixed length)"  # not `looped_rate`, of texts that may end
LABELS = {"val_loss": "Validation loss"}  # tested, but shown as perplexity


@dataclass(frozen=True)
class Cell:
    """One number as text: its interval, n, why it is missing, and what stands below it."""

    value: str
    interval: str = ""
    n: int = 0
    reason: str = ""
    note: str = ""
    paper: str = ""  # what the paper prints there

    @property
    def short_interval(self) -> str:
        """The interval as `.66–.70`-like text for a narrow column; below 0 as `-.70…-.66`.

        A dash before a sign would be mistaken for one.
        """
        bounds = self.interval.strip("[]").split(", ")
        between = "…" if "-" in self.interval else "–"
        return between.join(bound.removeprefix("0") or "0" for bound in bounds) if bounds[0] else ""

    @property
    def text(self) -> str:
        """Value and interval in one line."""
        return f"{self.value} {self.interval}".strip()

    @property
    def line(self) -> str:
        """All that the cell says, without the paper's value, in one line."""
        n = f"(n={self.n})" if self.n and self.value != MISSING else ""
        return " ".join(part for part in (self.text, n, self.note) if part)


@dataclass(frozen=True)
class Table:
    """A header and rows of cells; the first cell of a row names it."""

    name: str  # of its files
    header: Sequence[tuple[str, str]]  # label and unit of every column
    rows: Sequence[Sequence[Cell]]
    origins: Sequence[str] = ()  # where the numbers of every column come from, if it is said

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def common_n(self) -> int:
        """The n of most numbers with an interval; 0 where no n is that of two thirds of them."""
        counts = Counter(each.n for row in self.rows for each in row if each.interval)
        n, times = counts.most_common(1)[0] if counts else (0, 0)
        return n if 3 * times >= 2 * counts.total() else 0

    def lines(self) -> list[list[str]]:
        """Header and rows as text for a file; the paper's values get columns of their own."""
        beside = [any(row[i].paper for row in self.rows) for i in range(len(self.header))]
        header: list[str] = []
        for (name, unit), has_paper in zip(self.header, beside, strict=True):
            header.append(f"{name} ({unit})" if unit else name)
            header += [f"{name}, paper"] * has_paper
        found = [header]
        for row in self.rows:
            texts: list[str] = []
            for each, has_paper in zip(row, beside, strict=True):
                texts.append(printable(each.line))
                texts += [each.paper or MISSING] * has_paper
            found.append(texts)
        return found


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """A number for a table; a dash where there is none. Zero has no sign."""
    if value is None:
        return MISSING
    is_shown = abs(value) < 1e7 or isinstance(value, int)  # counts are shown to the last digit
    text = f"{value:+,.{decimals}f}" if is_shown else f"{value:+.2e}"
    if not any(digit in text for digit in "123456789"):
        return text[1:]
    return text if signed else text.removeprefix("+")


def scientific(value: float | None) -> str:
    """A very small number, such as what a solver leaves."""
    return MISSING if value is None else f"{value:.1e}"


def interval(low: float | None, high: float | None, decimals: int, *, signed: bool = False) -> str:
    """Both ends in brackets; empty where there is no interval."""
    if low is None or high is None:
        return ""
    return f"[{number(low, decimals, signed=signed)}, {number(high, decimals, signed=signed)}]"


def estimate(found: Estimate | None, decimals: int = 3, *, signed: bool = False) -> Cell:
    """The table cell of an estimate; large values are shown without decimals."""
    if found is None:
        return Cell(MISSING, reason="not measured")
    if found.value is not None and abs(found.value) >= 100:
        decimals = 0
    return Cell(
        number(found.value, decimals, signed=signed),
        interval(found.low, found.high, decimals, signed=signed),
        found.n,
        found.reason or ("undefined" if found.value is None else ""),
    )


def cell(row: Measurement | None) -> Cell:
    """The table cell of a measurement."""
    if row is None:
        return estimate(None)
    found = Estimate(value=row.mean, low=row.low, high=row.high, n=row.n, reason=row.reason)
    return estimate(found, METRICS[row.metric].decimals)


def p_text(p: float | None) -> str:
    """A p-value as printed."""
    if p is None:
        return MISSING
    if p < 0.001:
        return "< .001"
    if p >= 1:
        return "1"
    return "> .999" if p > 0.999 else f"{p:.3f}".removeprefix("0")


def p_phrase(p: float | None) -> str:
    """A p-value inside a sentence."""
    text = p_text(p)
    return f"p {text}" if text[0] in "<>" else f"p = {text}"


def metric_label(metric: str) -> str:
    """What the catalogue calls a metric."""
    return METRICS[metric].label if metric in METRICS else LABELS.get(metric, metric)


def heading(study: Study, metric: str) -> str:
    """What a column is called: a metric's label, with the model where a study picks it."""
    reference = study.info.evaluate.coherence_model
    if metric == "coherence_nats" and reference is not None:
        return f"Coherence under {reference}"
    return metric_label(metric)


def columns(study: Study, *tables: str) -> list[tuple[str, Prefix | None]]:
    """The catalogue's metrics that this study measured, of some tables or of all.

    Each comes with its kind of prefix where it was taken on both.
    """
    found: list[tuple[str, Prefix | None]] = []
    for name, metric in METRICS.items():
        if tables and metric.table not in tables:
            continue
        prefixes = study.prefixes(name)
        if len(prefixes) > 1:
            found += [(name, prefix) for prefix in prefixes]
        elif prefixes or any(row.metric == name for row in study.rows):
            found.append((name, None))
    return found


def metric_table(
    study: Study, name: str, arms: Sequence[Arm], shown: Sequence[tuple[str, Prefix | None]]
) -> Table:
    """One row per arm, one column per metric."""
    header = [("arm", "")]
    for metric, prefix in shown:
        suffix = f" ({prefix})" if prefix else ""
        header.append((heading(study, metric) + suffix, METRICS[metric].unit))
    rows = [
        [Cell(study.label(arm)), *(cell(study.cell(arm, m, prefix)) for m, prefix in shown)]
        for arm in arms
    ]
    return Table(name, header, rows, ["", *(origin(metric) for metric, _ in shown)])


def origin(metric: str) -> str:
    """Where a metric is defined and which function computes it."""
    found = METRICS[metric]
    return (
        f"Formula: {found.formula}; section {found.section} of docs/definitions.md. Means and "
        "intervals: section 1.5, hyperfitting.evaluate.measurements."
    )


def catalogue_table(study: Study, name: str) -> Table:
    """Metrics of one table of the catalogue: the human text and all greedy arms.

    An arm without any of them is left out.
    """
    shown = columns(study, name)
    arms = [arm for arm in study.greedy if any(study.has(arm, metric) for metric, _ in shown)]
    return metric_table(study, name, arms, shown)


def difference(test: PairedTest) -> Cell:
    """The mean difference of a test."""
    found = Estimate(
        value=test.difference, low=test.low, high=test.high, n=test.n, reason=test.reason
    )
    return estimate(found, signed=True)


def test_table(study: Study, name: str, tests: Sequence[PairedTest]) -> Table:
    """Two-sided tests of a difference, one row each."""
    names = ["a", "b", "metric", "a - b", "noise in it", "p", "p (Holm)", "claimable from"]
    rows = [
        [
            *(Cell(_test_label(study, arm)) for arm in test.arms),
            Cell(metric_label(test.metric)),
            difference(test),
            Cell(_noise(test)),
            Cell(p_text(test.p), reason=test.reason or ""),
            Cell(p_text(test.p_holm), reason=test.reason or ""),
            _claimable(test),
        ]
        for test in tests
        if test.margin is None
    ]
    return Table(name, [(each, "") for each in names], rows)


def _noise(test: PairedTest) -> str:
    """Over what the interval and p of a test generalise."""
    if test.noise == "contexts":
        return "contexts only"
    counts = [str(count) for count in (test.num_seeds, test.num_seeds_b) if count]
    return f"{' and '.join(counts)} trainings, contexts"


def _claimable(test: PairedTest) -> Cell:
    if test.claimable is not None:
        return Cell(number(test.claimable, 3))
    return Cell(MISSING, reason="needs several trainings")


def equivalence_table(study: Study, name: str, tests: Sequence[PairedTest]) -> Table:
    """Tests that a difference lies within its margin, one row each.

    The interval is the one that goes with the test: inside the margin where p is significant.
    """
    levels = [test.confidence for test in tests if test.margin is not None and test.confidence]
    level = f"{100 * levels[0]:.0f} % interval" if levels else ""
    names = ["a", "b", "metric", "a - b", "margin", "p (equivalence)", "equal within it"]
    rows = []
    for test in tests:
        if test.margin is None:
            continue
        p = test.p_equivalence
        verdict = MISSING if p is None else "yes" if p < SIGNIFICANT else "not shown"
        rows.append(
            [
                *(Cell(_test_label(study, arm)) for arm in test.arms),
                Cell(metric_label(test.metric)),
                difference(test),
                Cell(f"± {test.margin:g}"),
                Cell(p_text(p), reason=test.reason or ""),
                Cell(verdict, reason=test.reason or ""),
            ]
        )
    return Table(name, [(each, level if each == "a - b" else "") for each in names], rows)


def _test_label(study: Study, arm: Arm) -> str:
    return study.label(arm) if arm in study.num_seeds else label(arm, [arm])
