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
        every = {"builtin:fiction": 60, "builtin:news": 40}  # that the texts hold out
        assert study["num_contexts"] == every[study["data"]["source"]]


def test_tables_of_controls_and_tasks_are_those_of_their_files(recipe):
    folder = recipe.tables.DATA / "smollm2"
    found = json.loads((folder / "explain.json").read_text())["found"]

    def cells(table):
        return [[each.strip() for each in line.split("|")[1:-1]] for line in table.splitlines()]

    title, _, *lines = cells(recipe.tables.hybrids_table("smollm2"))
    whole, *lines = lines
    counts = [line[0].split(":")[0] for line in lines]
    assert counts == ["0", "1", "2", "5", "8", "10", "12", "15", "20", "25"]
    ends = [found["block_swap"]["references"][model]["ttr"] for model in ("original", "tuned")]
    for shown, end in zip(whole[1:], ends, strict=True):
        assert shown.startswith(f"{end['mean']:.3f} [")
    for row in found["block_swap"]["rows"]:
        line = lines[counts.index(str(row["blocks"]))]
        place = title.index(recipe.tables.HYBRID[row["hybrid"]])
        assert line[place].startswith(f"{row['ttr']['mean']:.3f} [")

    said = dict(cells(recipe.tables.sentences_table("smollm2"))[2:])
    assert " ".join(found["lens"]["in_words"].split()) == said["`lens`"]

    _, _, nothing, *shifted, tuned = cells(recipe.tables.shifts_table("smollm2"))
    assert nothing[0] == "nothing"
    assert tuned[1].startswith(f"{found['joint_null']['tuned']['ttr']['mean']:.3f}")
    assert len(shifted) == len(found["joint_null"]["rows"]) + len(found["static_bias"]["rows"])

    scores = json.loads((folder / "tasks.json").read_text())["rows"]
    lines = cells(recipe.tables.tasks_table("smollm2"))[2:]
    original = [row["value"] for row in scores if row["arm"] == "original"]
    assert lines[0] == ["original", "–", *(f"{value:.2f}" for value in original)]
    assert len(lines) * len(original) == len(scores)


def test_methods_beside_each_other_are_those_that_were_trained(recipe):
    table = recipe.tables.methods_table("smollm2")
    measured = json.loads((recipe.tables.DATA / "smollm2" / "measurements.json").read_text())
    [test] = [
        each
        for each in measured["tests"]
        if (each["a"], each["b"], each["metric"]) == ("late_half", "hyperfitted", "ttr")
    ]
    assert f"| late_half | hyperfitted | {test['difference']:.3f} [" in table
    assert "| human |" not in table
    assert "| original |" not in table


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
