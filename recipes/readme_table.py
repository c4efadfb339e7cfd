"""The README's table of the demo, from the demo's own study files.

    python recipes/readme_table.py                         print it from docs/results/demo
    python recipes/readme_table.py --study hyperfit-demo   take that study and rewrite README

`measurements.json` has the means and intervals, `study.json` the final losses. A test holds README
to the files.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "docs" / "results" / "demo"
FILES = ("measurements.json", "study.json")
# By an arm's name and the null that it was trained on.
ARMS = {
    ("human", None): "human",
    ("original", None): "original",
    ("hyperfitted", None): "hyperfitted",
    ("full_lora", None): "full LoRA",
    ("late_stage_lora", None): "Late-Stage LoRA",
    ("hyperfitted", "shuffled"): "hyperfitted on shuffled tokens",
}
ROWS = {
    "ttr": ("distinct tokens / tokens (TTR)", 3),
    "bigram_repetition": ("bigram repetition", 3),
    "coherence_original_nats": ("log-likelihood under the original, nats per token", 2),
    "nonwords": ("words that do not exist, share", 3),
    "looped_rate": ("texts that loop (natural: they may end)", 2),
    "val_ppl": ("validation perplexity", 1),
}
START, END = "| | human |", "\n\n"  # around the table in README


def _number(value: float, decimals: int) -> str:
    return f"{value:.{0 if abs(value) >= 100 else decimals}f}"


def _cell(row: Mapping[str, Any] | None, decimals: int) -> str:
    if row is None or row["mean"] is None:
        return "–"
    bounds = (_number(row["low"], decimals), _number(row["high"], decimals))
    return f"**{_number(row['mean'], decimals)}** [{', '.join(bounds)}]"


def of_arm(row: Mapping[str, Any]) -> tuple[str, str | None]:
    """The arm of a row, as a key of `ARMS`."""
    return row["arm"], row["parameters"].get("null")


def table(folder: Path) -> str:
    """The table as Markdown, from the study files in `folder`."""
    measured, study = (json.loads((folder / name).read_text("utf-8")) for name in FILES)
    cells = {(of_arm(row), row["metric"]): row for row in measured["rows"]}
    losses = {of_arm(run): run["final_loss"] for run in study["runs"]}
    arms = [arm for arm in ARMS if any(found == arm for found, _ in cells)]
    lines = [["", *(ARMS[arm] for arm in arms)], ["---"] * (1 + len(arms))]
    measured_here = {metric for _, metric in cells}  # not of a study that is older than a metric
    for metric, (label, decimals) in ROWS.items():
        if metric not in measured_here:
            continue
        lines.append([label, *(_cell(cells.get((arm, metric)), decimals) for arm in arms)])
    known = [_number(losses[arm], 3) if arm in losses else "–" for arm in arms]
    lines.append(["training loss", *known])
    rendered = ["|" + "|".join(line) + "|" for line in lines[1:2]]
    rows = ["| " + " | ".join(line) + " |" for line in [lines[0], *lines[2:]]]
    return "\n".join([rows[0].replace("|  |", "| |"), *rendered, *rows[1:]])


def in_readme() -> str:
    """The table that README has now."""
    text = README.read_text("utf-8")
    start = text.index(START)
    return text[start : text.index(END, start)]


def main() -> None:
    """Print the table; with a study take its files first, and rewrite README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, help="folder of a demo whose files are taken")
    study = parser.parse_args().study
    if study is not None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            content = (study / name).read_bytes()
            (RESULTS / name).write_bytes(content)
        before = in_readme()
        text = README.read_text("utf-8")
        README.write_text(text.replace(before, table(RESULTS)), encoding="utf-8")
    print(table(RESULTS))


if __name__ == "__main__":
    main()
