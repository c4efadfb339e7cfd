"""Where two golden studies differ: `python -m tests.golden.compare BEFORE AFTER`.

Every JSON, JSONL, parquet, table and page is compared whole, field by field. Left out is what no
two runs share: clock times, dates, versions, the checkout's and the folder's own path, and orders
that no run fixes (the modules of an adapter, with the digest of the file that lists them; answers
of a judge that several threads ask). A field that is null where it was not written before is equal.
Exit code 1 and a list where anything else differs.
"""

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet

# Fields by their last name: clock times, dates, and where the folder lies.
NEVER_EQUAL = {
    "seconds", "prefix_seconds", "monitor_seconds", "train_seconds", "tokens_per_second", "started",
    "peak_bytes",
    "date", "first_answer", "last_answer", "environment", "versions", "endpoint",
    "base_model_name_or_path",
    # Digests of files that hold clock times, and the version from which files have them.
    "content_digest", "files", "version",
}  # fmt: skip
# Columns of tables.
TIMED = ("training time", "Speed", "full run", "speed-up", "useful range", "peak memory")
PRINTED_TIMES = re.compile(r"^(time    |[a-z].*\d+\.\d(, |$)|  ?[a-z].*, )")
# Fields that one side may have and the other not: what files of version 2 say besides.
ADDED = {"version", "content_digest", "files", "tokenizer_digest", "texts"}


def different(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Every place at which two values of JSON differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            path = f"{where}.{key}"
            is_date = key == "written" and isinstance(before.get(key), str)  # or ranks of words
            if key in NEVER_EQUAL or is_date:
                continue
            if key == "digest" and after.get("kind") == "adapter":
                continue
            if key not in before or key not in after:
                if key not in ADDED and (key in before or after[key] is not None):
                    yield f"{path}: only {'before' if key in before else 'after'}"
                continue
            yield from different(before[key], after[key], path)
    elif isinstance(before, list) and isinstance(after, list):
        if where.endswith(".target_modules"):
            before, after = sorted(before), sorted(after)
        if len(before) != len(after):
            yield f"{where}: {len(before)} entries before, {len(after)} after"
        for index, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from different(one, other, f"{where}[{index}]")
    elif before != after or type(before) is not type(after):
        yield f"{where}: {str(before)[:90]!r} before, {str(after)[:90]!r} after"


def _json(path: Path) -> Any:
    return json.loads(_read(path))


def _read(path: Path) -> str:
    """The text, without where the golden study lies."""
    root = next(each for each in path.parents if (each / "printed").is_dir())
    return path.read_text().replace(str(root), "")


def _jsonl(path: Path) -> Any:
    rows = [json.loads(line) for line in path.read_text().splitlines() if line]
    return sorted(rows, key=lambda row: row["key"]) if path.name == "answers.jsonl" else rows


def _parquet(path: Path) -> Any:
    table = pyarrow.parquet.read_table(path)
    return {"schema": str(table.schema), "rows": table.to_pylist()}


def _csv(path: Path) -> Any:
    """Rows of a table without its columns of clock times."""
    header, *rows = list(csv.reader(path.open()))
    kept = [n for n, name in enumerate(header) if not name.startswith(TIMED)]
    return [[row[n] for n in kept] for row in [header, *rows]]


def _text(path: Path) -> Any:
    """Lines without numbers that are clock times; tables of other formats have a CSV beside."""
    lines = []
    for line in path.read_text().splitlines():
        if PRINTED_TIMES.match(line) and path.name in ("demo.txt", "evaluate.txt"):
            continue
        lines.append(re.sub(r"\d+\.\d s\b", "TIME", line).replace("\xa0", " "))
    return lines


def _page(path: Path) -> Any:
    """The page's words and numbers; clock times and paths of figures apart."""
    text = re.sub(r"<svg.*?</svg>", "", path.read_text(), flags=re.S)
    text = re.sub(r"Table paper time.*?</table>", "", text, flags=re.S)  # its CSV is compared
    text = re.sub(r"[\d,]+\.\d(?=\s*</td>)", "NUMBER", text)  # one decimal: a time or in the CSV
    text = re.sub(r"<td[^>]*>\s*[\d,–]+\s*</td>\s*</tr>", "<td>LAST</td></tr>", text)  # a speed
    return text.splitlines()


READERS = {
    ".json": _json, ".jsonl": _jsonl, ".parquet": _parquet, ".csv": _csv, ".txt": _text,
    ".html": _page,
}  # fmt: skip


def files(folder: Path) -> set[str]:
    """What is compared, by path; caches, weights and drawings are not."""
    found = {p.relative_to(folder) for p in folder.rglob("*") if p.suffix in READERS}
    left_out = {"tiny", "prefix-cache", "checkpoints"}
    return {
        str(path)
        for path in found
        if not left_out & set(path.parts[1:-1]) and path.parts[0] not in {"tiny", "tasks"}
    }


def main() -> None:
    """Compare two folders."""
    before, after = map(Path, sys.argv[1:3])
    one, other = files(before), files(after)
    found = [f"{name}: only before" for name in sorted(one - other)]
    found += [f"{name}: only after" for name in sorted(other - one)]
    for name in sorted(one & other):
        read = READERS[Path(name).suffix]
        found += [f"{name} {each}" for each in different(read(before / name), read(after / name))]
    print("\n".join(found) or f"{len(one)} files are equal")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
