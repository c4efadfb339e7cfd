"""Every table of the result pages is that of the committed studies."""

import json
import shutil
from pathlib import Path

import pytest

from tests.recipes import recipe_of

ROOT = Path(__file__).parent.parent


@pytest.fixture
def recipe():
    return recipe_of("results_pages")


def test_every_page_has_the_tables_of_the_committed_studies(recipe):
    pages = recipe.pages()
    tables = [place for page in pages for place in recipe.PLACE.findall(page.read_text("utf-8"))]
    assert {name for _, name, _ in tables} >= {
        recipe.SIDE_BY_SIDE,
        recipe.FIRST,
        *recipe.tables.names(),
    } - {"builtin"}
    for page in pages:
        text = page.read_text("utf-8")
        assert recipe.filled(text) == text, f"{page.name}: python recipes/results_pages.py"


def test_a_cell_is_of_its_arm_seed_and_metric(recipe):
    for name in recipe.tables.names():
        rows, study = recipe.tables.read(name)
        lines = [line.split(" | ") for line in recipe.tables.arms_table(name).splitlines()[2:]]
        titles = recipe.tables.arms_table(name).splitlines()[0].split(" | ")
        at = titles.index("TTR")
        arms = list(dict.fromkeys(recipe.tables.arm_of(row) for row in rows))
        assert len(lines) == len(arms) >= 3
        for arm, line in zip(arms, lines, strict=True):
            trained = {row["seed"] for row in rows if recipe.tables.arm_of(row) == arm} - {None}
            seed = trained.pop() if len(trained) == 1 else None
            [row] = [
                r
                for r in rows
                if (recipe.tables.arm_of(r), r["seed"], r["metric"], r["mode"])
                == (arm, seed, "ttr", "fixed_length")
            ]
            assert float(line[at].split(" ")[0]) == pytest.approx(row["mean"], abs=5e-4)
        assert study["num_contexts"] >= 60, "held-out contexts"


def test_another_study_makes_another_page(recipe, tmp_path, monkeypatch):
    folder = tmp_path / "data" / "other"
    folder.mkdir(parents=True)
    for file in recipe.tables.FILES:
        shutil.copyfile(recipe.tables.DEMO / file, folder / file)
    content = json.loads((folder / "measurements.json").read_text())
    for row in content["rows"]:
        if (row["arm"], row["metric"]) == ("hyperfitted", "ttr"):
            row["mean"] = 0.12345
    (folder / "measurements.json").write_text(json.dumps(content))
    monkeypatch.setattr(recipe.tables, "DATA", tmp_path / "data")
    assert recipe.tables.names() == ["builtin", "other"]
    page = "before\n<!-- results: other -->\nold\n<!-- end of results -->\nbehind\n"
    assert "0.123 [" in recipe.filled(page)
    assert "0.123 [" not in recipe.tables.arms_table("builtin")
    assert recipe.filled(page).startswith("before\n<!-- results: other -->\n| arm | seed | TTR |")
    assert recipe.filled(recipe.filled(page)) == recipe.filled(page)
