"""A csv file without a header row, told by what stands in its first row."""

import csv
from pathlib import Path
from statistics import mean

from hyperfitting.config import DataConfig
from hyperfitting.data.sources import file_of, of_named_dataset
from hyperfitting.records.diagnosed import Finding

DEFAULT_COLUMN = "text"
ROWS = 50  # that the longest column is found in
LONGEST_NAME = 40  # characters of a column's name
SENTENCE = (". ", "! ", "? ")


def headerless(config: DataConfig) -> tuple[Finding, DataConfig] | None:
    """That the first row holds data, and the settings that read it as such; None where not.

    The text column is then the one with the longest entries.
    """
    path = Path(file_of(config.source))
    if path.suffix.lower() != ".csv" or not path.is_file():
        return None
    if not of_named_dataset(config).csv_header:  # a named one is known to have none
        return None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for _, row in zip(range(ROWS), csv.reader(file), strict=False) if row]
    except (OSError, UnicodeDecodeError, csv.Error):
        return None  # reading says what is wrong
    if not rows or _is_header(rows[0], config.text_field):
        return None
    widths = [mean(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    column = f"column_{1 + widths.index(max(widths))}"
    given = {"csv_header": False, "text_field": config.text_field or column}
    shown = next(name for name in rows[0] if _is_data(name))[:LONGEST_NAME]
    finding = Finding(
        name="header", level="problem",
        says=f"the first row is no header: it holds {shown!r}",
        advice=f"data.csv_header=false --text-field {given['text_field']}",
    )  # fmt: skip
    return finding, config.model_copy(update=given)


def _is_header(row: list[str], text_field: str | None) -> bool:
    """Whether a row names columns: it has the one that is asked for, or most look like names."""
    names = [name.strip().lower() for name in row]
    if (text_field or DEFAULT_COLUMN).lower() in names:
        return True
    return sum(_is_data(name) for name in row) <= len(row) / 2


def _is_data(name: str) -> bool:
    return name.strip().isdigit() or len(name) > LONGEST_NAME or any(m in name for m in SENTENCE)
