"""What the paper prints, by model and arm; its values are in `paper_tables.json`.

The paper is arXiv 2605.22579.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from hyperfitting.records import Arm
from hyperfitting.records.record import Record, read_rows
from hyperfitting.report.load import Study
from hyperfitting.report.tables import number

# Hub ids of the models that the paper names. A folder counts by its last part.
MODELS: Mapping[str, str] = {
    "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T": "TinyLlama-1.1B",
    "Qwen/Qwen2.5-1.5B": "Qwen2.5-1.5B",
    "meta-llama/Llama-3.2-3B": "LLaMA-3.2-3B",
    "google/gemma-2-2b": "Gemma-2-2B",
    "meta-llama/Llama-3.1-8B-Instruct": "LLaMA-3.1-8B-Instruct",
    "meta-llama/Meta-Llama-3.1-8B-Instruct": "LLaMA-3.1-8B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct": "Qwen2.5-7B-Instruct",
}
# Numbers of the paper's tables by model.
ENTROPY_TABLES = {"TinyLlama-1.1B": 1, "Qwen2.5-1.5B": 9, "LLaMA-3.2-3B": 11, "Gemma-2-2B": 13}
STATIC_TABLES = {"TinyLlama-1.1B": 2}
METHOD_TABLES = {
    "TinyLlama-1.1B": 3, "Qwen2.5-1.5B": 10, "LLaMA-3.2-3B": 12, "Gemma-2-2B": 14,
    "LLaMA-3.1-8B-Instruct": 15, "Qwen2.5-7B-Instruct": 16,
}  # fmt: skip


# Of one model or of none that is named; a row says which.
JUDGE_TABLE, DOMAIN_TABLE, DECODER_TABLE, TIME_TABLE = 5, 6, 7, 8


class PaperValue(Record):
    """A value as the paper prints it, and the p-value beside it; None where it prints none."""

    mean: float | None = None
    pm: float | None = None
    min: float | None = None  # where it prints a range
    max: float | None = None
    ci95: list[float] | None = None
    p_value: float | None = None
    p_relation: str = "="

    @property
    def text(self) -> str:
        """The value with its half-width; empty where there is none."""
        if self.mean is None and self.min is not None and self.max is not None:
            return f"{number(self.min, 2)} to {number(self.max, 2)}"
        if self.mean is None:
            return ""
        if self.ci95:
            return f"{number(self.mean, 1)} [{number(self.ci95[0], 1)}, {number(self.ci95[1], 1)}]"
        width = "" if self.pm is None else f" ± {number(self.pm, 3)}"
        return f"{number(self.mean, 3)}{width}"

    @property
    def p_text(self) -> str:
        """The p-value; empty where there is none."""
        if self.p_value is None:
            return ""
        sign = "" if self.p_relation == "=" else f"{self.p_relation} "
        return sign + f"{self.p_value:g}".removeprefix("0")


class PaperTemperature(Record):
    """The temperature of equal entropy; None where it is not known."""

    value: float | None = None


class PaperRow(Record):
    """A row of a table of the paper; `alpha` is the strength of a static injection."""

    arm: str
    metrics: dict[str, PaperValue]
    label: str = ""
    layers_tuned: str = ""
    model: str | None = None
    domain: str | None = None
    tau_star: PaperTemperature = PaperTemperature()
    alpha: float | None = 0.0  # None where it is not known


@cache
def _printed() -> dict[str, Any]:
    text = resources.files("hyperfitting.report").joinpath("paper_tables.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def scalar(name: str) -> Any:
    """A number that the paper prints outside its tables, by its name in the file.

    A number, a range, or a mapping of either by model or kind.
    """
    return _printed()["scalars"][name]["value"]


@cache
def table_rows(table: int) -> list[PaperRow]:
    """The rows of one of the paper's tables, by its number."""
    rows = next(each["rows"] for each in _printed()["tables"] if each["table"] == table)
    return read_rows(PaperRow, rows, "rows")


def model_in_paper(name: str) -> str | None:
    """The paper's name of a model given by hub id or folder, or None."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
    known = {hub_id.rsplit("/", 1)[-1].lower(): theirs for hub_id, theirs in MODELS.items()}
    return known.get(last)


def paper_rows(study: Study, numbers: Mapping[str, int]) -> list[PaperRow]:
    """The rows of the paper's table for this model; empty where it has none."""
    table = numbers.get(model_in_paper(study.info.model.name) or "")
    return [] if table is None else table_rows(table)


def printed(rows: list[PaperRow], arm: Arm, metric: str) -> PaperValue:
    """What the paper prints of an arm. Other parameters are not in it."""
    row = next((r for r in rows if r.arm == arm.name), None)
    metric = "top1_agreement" if metric.startswith("top1_agreement") else metric
    found = row.metrics.get(metric) if row and is_plain(arm) else None
    return PaperValue() if found is None or found.mean is None else found


def is_plain(arm: Arm) -> bool:
    """Whether the paper has an arm like it: no settings, matched to nothing but hyperfitted."""
    return not arm.settings and arm.matched_to in (None, "hyperfitted")
