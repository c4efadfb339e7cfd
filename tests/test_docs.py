"""The documents against the code: what is referred to exists, and what exists is documented."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
import typer
import yaml

from hyperfitting.cli.main import app
from hyperfitting.config.methods import METHODS
from hyperfitting.explain.controls import CONTROLS
from hyperfitting.generate.decoders import DECODERS
from hyperfitting.measure.catalogue import METRICS
from tests.recipes import recipe_of

ROOT = Path(__file__).parent.parent
SOURCE, DOCS = ROOT / "src" / "hyperfitting", ROOT / "docs"
HISTORY = {"log.md", "CHANGELOG.md"}  # of what was, under the names it had
REFERENCE = re.compile(r"definitions,\s+(?:#\s+)?sections?\s+([\d.,\sand]*\d)")


def read(*parts):
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def documents():
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    return sorted(page for page in pages if page.name not in HISTORY)


def sections_in(text):
    """The sections of the definitions that a text refers to."""
    for match in REFERENCE.findall(text):
        yield from re.findall(r"\d+(?:\.\d+)?", match)


def test_every_section_that_is_referred_to_is_there():
    known = set(re.findall(r"^##+ ([\d.]+\d|\d+)\.? ", read("docs", "definitions.md"), re.M))
    found = {}
    files = [p for folder in ("src", "tests", "benchmarks", "recipes")
             for p in (ROOT / folder).rglob("*.py") if p != Path(__file__)]  # fmt: skip
    for path in [*files, *documents()]:
        for section in sections_in(path.read_text(encoding="utf-8")):
            found.setdefault(section, path.relative_to(ROOT))
    assert not {section: place for section, place in found.items() if section not in known}
    assert len(found) > 25


def test_the_sections_of_a_reference_are_read():
    text = "(definitions, sections 1.1 and 8.7). See definitions, section 5, step 4; definitions,\n"
    assert list(sections_in(text + "section 2.6.")) == ["1.1", "8.7", "5", "2.6"]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("metrics.md", METRICS),
        ("training.md", METHODS),
        ("decoding.md", DECODERS),
        ("controls.md", [f"explain/{name}.json" for name in CONTROLS]),
        ("metrics.md", [f"{name}.json" for name in CONTROLS]),
    ],
)
def test_everything_of_a_table_is_documented_by_its_full_name(page, names):
    text = read("docs", page)
    assert not [name for name in names if f"`{name}`" not in text]


def test_every_metric_that_the_definitions_name_is_one():
    text = re.sub(r"```.*?```", "", read("docs", "definitions.md"), flags=re.DOTALL)
    titles = re.findall(r"^### [\d.]+ .*?\((`[^)]*)\)$", text, re.M)
    named = {name for title in titles for name in re.findall(r"`(\w+)`", title)}
    geometry_and_training = {"l2", "l2_relative", "pr", "delta_dim", "final_loss", "train_loss",
                             "val_loss"}  # fmt: skip
    assert named - geometry_and_training <= METRICS.keys()
    assert METRICS.keys() - named == {
        "mean_length", "delta_dim_block_output", "delta_dim_post_final_norm"
    }  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_names_its_formula_and_its_definition(name):
    module, function = METRICS[name].formula.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(module), function))
    text = read("docs", "definitions.md")
    title = re.search(rf"^### {re.escape(METRICS[name].section)} .*$", text, re.M)
    of_others = {"mean_length": "texts end", "delta_dim_block_output": "`delta_dim`",
                 "delta_dim_post_final_norm": "`delta_dim`"}  # fmt: skip
    assert of_others.get(name, f"`{name}`") in title[0]


def test_every_verb_is_documented():
    verbs = typer.main.get_command(app).commands
    text = "\n".join(page.read_text(encoding="utf-8") for page in documents())
    assert not [verb for verb in verbs if f"hyperfit {verb}" not in text]


def tree():
    """The paths of README's tree of folders."""
    block = re.search(r"```\n(src/hyperfitting/\n.*?)```", read("README.md"), re.DOTALL)[1]
    folder = ""
    for line in block.splitlines():
        name = line.split()[0]
        folder = name if not line.startswith(" ") else folder
        yield name if name == folder else f"src/hyperfitting/{name}"


def test_readmes_tree_is_that_of_the_folders():
    paths = list(tree())
    assert not [path for path in paths if not (ROOT / path).exists()]
    ours = {f"src/hyperfitting/{p.name}/" for p in SOURCE.iterdir() if (p / "__init__.py").exists()}
    assert not ours - set(paths)


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.name)
def test_every_file_that_a_document_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|recipes|benchmarks|docs)/[\w./-]*\.\w+)`", text))
    here = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert not [name for name in named if not (ROOT / name).exists()]
    assert not [link for link in here if not (page.parent / link).exists()]


def test_every_anchor_that_a_document_links_to_is_there():
    for page in documents():
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", text):
            there = (page.parent / target if target else page).read_text(encoding="utf-8")
            titles = re.findall(r"^#+ (.*)$", there, re.M)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in slugs, f"{page.name} links to {target}#{anchor}"


def test_the_page_of_modules_is_up_to_date():
    assert read("docs", "modules.md") == recipe_of("module_tree").page()


def test_the_page_of_the_library_is_up_to_date():
    assert read("docs", "library.md") == recipe_of("library_reference").page()


def test_the_tables_in_the_documents_are_those_of_the_code():
    tables = recipe_of("docs_tables")
    found = set()
    for file in tables.FILES:
        text = file.read_text(encoding="utf-8")
        assert text == tables.filled(text)
        found |= {match[2] for match in tables.PLACE.finditer(text)}
    assert found == tables.TABLES.keys()


def test_the_version_and_its_day_are_the_same_everywhere():
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    citation = yaml.safe_load(read("CITATION.cff"))
    newest = re.search(r"^## (\S+)(?: - (\S+))?$", read("CHANGELOG.md"), re.M)
    assert newest.groups() == (version, citation["date-released"])
    assert citation["version"] == version
