"""The result pages of real models, from the studies that are committed under docs/results/data.

    python recipes/results_pages.py                      write every page's tables anew
    python recipes/results_pages.py --study S --name N   take the files of study S for N first
    python recipes/results_pages.py --explained S --name N   take what the controls of S found

A page is docs/results/NAME.md, docs/results/README.md the models side by side, and the project's
README shows one of them first. Tables stand between `<!-- results: NAME -->` and
`<!-- end of results -->`, what surrounds them is written by hand. A test holds the pages to the
files.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import results_tables as tables

README = tables.RESULTS.parent.parent / "README.md"
PLACE = re.compile(r"(<!-- results: ([\w -]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
SIDE_BY_SIDE, FIRST = "side by side", "at first sight"
# By what stands behind the name of a model in a place.
OF_A_MODEL = {
    " by seed": tables.seeds_table,
    " methods": tables.methods_table,
    " tasks": tables.tasks_table,
    " explained": tables.sentences_table,
    " hybrids": tables.hybrids_table,
    " shifts": tables.shifts_table,
    "": tables.arms_table,
}
# The studies of each model that has a row beside the others, with today's recipe.
SHOWN_BESIDE = {
    "builtin": ["builtin"],
    "gemma3-270m": ["gemma3-270m-methods-study", "gemma3-270m-blocks-study"],
    "smollm2": ["smollm2"],
}
SHOWN_FIRST = ("smollm2", ("human", "original", "late_half"))
FOLDERS = re.compile(r"(?:(?<==)|^)/(?:[^/\s]+/)*(?=[^/\s]*$)")  # of a path, or of KEY=PATH
GRID = "grid.json"
EVERY_TOKEN = ("ranks", "tokens")  # of provenance


def pages() -> list[Path]:
    """The files that hold such tables."""
    return [README, *sorted(tables.RESULTS.glob("*.md"))]


def filled(text: str) -> str:
    """A page with every table as the files have it."""

    def fill(place: re.Match[str]) -> str:
        return f"{place[1]}{_table_named(place[2])}{place[3]}"

    return PLACE.sub(fill, text)


def _table_named(name: str) -> str:
    """The table of a place."""
    if name == FIRST:
        return tables.at_first_sight(*SHOWN_FIRST)
    if name == SIDE_BY_SIDE:
        return tables.side_by_side(SHOWN_BESIDE)
    ending = next(ending for ending in OF_A_MODEL if name.endswith(ending))
    return OF_A_MODEL[ending](name.removesuffix(ending))


def without_folders(value: Any) -> Any:
    """A file's content, with models and runs called by name and not by where they lay."""
    if isinstance(value, dict):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def take_explained(study: Path, folder: Path) -> None:
    """Write what the controls of a study found of its first model, without every single token."""
    files = sorted((study / "explain").glob("*.json"))
    content = {file.stem: json.loads(file.read_text("utf-8")) for file in files}
    controls = {name: each for name, each in content.items() if "arms" in each}
    one = next(iter(controls.values()))
    about = {key: one[key] for key in ("model", "num_contexts", "explain", "environment")}
    found = {
        name: {key: value for key, value in each["arms"][0].items() if key not in EVERY_TOKEN}
        for name, each in controls.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    whole = without_folders(about | {"found": found})
    (folder / tables.EXPLAINED).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Take a study's files where one is given, and write every page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, help="folder of a study whose files are taken")
    parser.add_argument("--name", help="of the model, and of its page")
    parser.add_argument("--explained", type=Path, help="folder whose controls are taken")
    options = parser.parse_args()
    if options.explained is not None:
        take_explained(options.explained, tables.DATA / options.name)
    if options.study is not None:
        folder = tables.DATA / options.name
        folder.mkdir(parents=True, exist_ok=True)
        # A study of a plan lies in the folder of its grid, which tells what its steps took.
        more = (options.study / tables.TASKS, options.study.parent / GRID)
        own = (options.study / file for file in tables.FILES)
        for path in (*own, *(each for each in more if each.exists())):
            content = without_folders(json.loads(path.read_text("utf-8")))
            written = json.dumps(content, indent=1) + "\n"
            (folder / path.name).write_text(written, encoding="utf-8")
    for page in pages():
        page.write_text(filled(page.read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
