"""Records to table cells, and tables to Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from hyperfitting.measure.catalogue import METRICS
from hyperfitting.records import Measurement, PairedTest
from hyperfitting.report.load import Study, label

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """One number as text: the mean, its interval, n, and why something is missing."""

    mean: str
    interval: str
    n: int
    reason: str

    @property
    def short_interval(self) -> str:
        """The interval as `.66–.70`-like text for a narrow column."""
        bounds = self.interval.strip("[]").split(", ")
        return "–".join(bound.removeprefix("0") or "0" for bound in bounds) if bounds[0] else ""

    @property
    def text(self) -> str:
        """Mean and interval in one line."""
        return f"{self.mean} {self.interval}".strip()


def number(value: float | None, decimals: int) -> str:
    """A number for a table; a dash where there is none."""
    if value is None:
        return MISSING
    return f"{value:,.{decimals}f}" if abs(value) < 1e7 else f"{value:.2e}"


def cell(row: Measurement | None) -> Cell:
    """The table cell of a measurement."""
    if row is None:
        return Cell(MISSING, "", 0, "not measured")
    decimals = METRICS[row.metric].decimals
    if row.mean is not None and abs(row.mean) >= 100:
        decimals = 0
    interval = ""
    if row.low is not None and row.high is not None:
        interval = f"[{number(row.low, decimals)}, {number(row.high, decimals)}]"
    return Cell(number(row.mean, decimals), interval, row.n, row.reason or "")


def shown_metrics(study: Study, *tables: str) -> list[str]:
    """The catalogue's metrics that this study measured, of some tables or of all."""
    measured = {row.metric for row in study.rows}
    return [
        name
        for name, metric in METRICS.items()
        if name in measured and (not tables or metric.table in tables)
    ]


def header(metric: str) -> str:
    """A metric's label with its unit."""
    unit = METRICS[metric].unit
    return f"{METRICS[metric].label} ({unit})" if unit else METRICS[metric].label


def arm_rows(study: Study) -> list[list[str]]:
    """The main table: a header row, then one row per arm, every cell with interval and n."""
    metrics = shown_metrics(study)
    rows = [["arm", *(header(metric) for metric in metrics)]]
    for arm in study.arms:
        cells = [cell(study.cell(arm, metric)) for metric in metrics]
        texts = [f"{c.text} (n={c.n})" if c.mean != MISSING else MISSING for c in cells]
        rows.append([label(arm, study.arms), *texts])
    return rows


def p_text(p: float | None) -> str:
    """A p-value as printed."""
    if p is None:
        return MISSING
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def test_rows(tests: Sequence[PairedTest], confidence: float) -> list[list[str]]:
    """The table of paired tests: a header row, then one row per test."""
    rows = [
        ["a", "b", "seed", "metric", "a - b", f"{confidence:.0%} interval", "p", "p (Holm)", "n"]
    ]
    for test in tests:
        interval = MISSING
        if test.low is not None and test.high is not None:
            interval = f"[{test.low:+.3f}, {test.high:+.3f}]"
        difference = MISSING if test.difference is None else f"{test.difference:+.3f}"
        ps = [p_text(test.p), p_text(test.p_holm)]
        seed = MISSING if test.seed is None else str(test.seed)
        rows.append([test.a, test.b, seed, test.metric, difference, interval, *ps, str(test.n)])
    return rows


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table; the first row is the header."""
    lines = ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def to_csv(rows: Sequence[Sequence[str]]) -> str:
    """Comma-separated values; the first row is the header."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


LATEX_SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"<": "$<$", ">": "$>$", "–": "--", "\\": "\\textbackslash{}", "~": "\\textasciitilde{}",
       "^": "\\textasciicircum{}"}
)  # fmt: skip


def to_latex(rows: Sequence[Sequence[str]]) -> str:
    """A tabular in booktabs style; the first row is the header."""
    lines = [" & ".join(text.translate(LATEX_SPECIAL) for text in row) + r" \\" for row in rows]
    body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
    return f"\\begin{{tabular}}{{{'l' * len(rows[0])}}}\n{body}\n\\end{{tabular}}\n"


FORMATS = {"md": to_markdown, "csv": to_csv, "tex": to_latex}
