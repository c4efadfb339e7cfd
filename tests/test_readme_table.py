"""README's table of the demo is that of the committed study."""

import json
import shutil
from pathlib import Path

import pytest

from tests.recipes import recipe_of

ROOT = Path(__file__).parent.parent


@pytest.fixture
def recipe():
    return recipe_of("readme_table")


def test_readme_has_the_table_of_the_committed_study(recipe):
    assert recipe.in_readme() == recipe.table(recipe.RESULTS)


def test_every_cell_is_of_its_arm_and_metric(recipe):
    rows = json.loads((recipe.RESULTS / "measurements.json").read_text())["rows"]
    lines = [line.split(" | ") for line in recipe.in_readme().splitlines()]
    there = {row["metric"] for row in rows}
    shown = [(metric, row) for metric, row in recipe.ROWS.items() if metric in there]
    for (metric, (label, decimals)), line in zip(shown, lines[2:], strict=False):
        assert line[0] == f"| {label}"
        arms = [arm for arm in recipe.ARMS if arm in map(recipe.of_arm, rows)]
        for arm, cell in zip(arms, line[1:], strict=True):
            [row] = [r for r in rows if (recipe.of_arm(r), r["metric"]) == (arm, metric)]
            if row["mean"] is None:
                assert cell.startswith("–")
                continue
            values = cell.replace("*", "").replace("[", "").replace("]", "").replace(",", "")
            found = [float(value) for value in values.removesuffix(" |").split()]
            half = 0.5 if row["mean"] >= 100 else 0.5 * 10**-decimals
            assert found == pytest.approx([row["mean"], row["low"], row["high"]], abs=half + 0.06)


def test_another_study_makes_another_table(recipe, tmp_path):
    for name in recipe.FILES:
        shutil.copyfile(recipe.RESULTS / name, tmp_path / name)
    content = json.loads((tmp_path / "measurements.json").read_text())
    for row in content["rows"]:
        if (row["arm"], row["metric"]) == ("full_lora", "ttr"):
            row["mean"] = 0.123
    (tmp_path / "measurements.json").write_text(json.dumps(content))
    assert "**0.123**" in recipe.table(tmp_path)
    assert recipe.table(tmp_path) != recipe.in_readme()
