"""Everything that can be undefined: written, read back, and shown as a dash with its reason."""

import json
import re

import pytest

from hyperfitting.config import ReportConfig
from hyperfitting.errors import InputError
from hyperfitting.report import verb as build
from hyperfitting.report.load import read_study
from hyperfitting.report.page import tables
from hyperfitting.runs import RunFolder
from tests.report.planted import plant
from tests.report.small import BROKEN, CASES, every_number, page_text, run_case
from tests.sealing import reseal, rewrite

# What the page has to say of a case, and what it must not.
SAID = {
    "one context": (
        "no other region is shown", "one context has no other to measure the shift on",
        "one context cannot show a gain",
    ),
    "two contexts": ("no other region is shown", "no gain is shown on these contexts"),
    "three contexts": ("no other region is shown", "no gain is shown on these contexts"),
    "one block": ("identical below block 1 of 1", "A model of one block has no other layer"),
    "the same model": ("there is no effect to locate", "No logit changed", "no logit changed"),
    "the same model, one context": ("there is no effect to locate", "No logit changed"),
    "doubled logits": ("writes the original's texts, all of them", "no effect to locate"),
    "doubled logits, two contexts": ("writes the original's texts, all of them",),
    "beyond any temperature": ("there is no effect to locate", "too large for a number"),
    "texts of two tokens": ("identical below block 2 of 3", "no gain is shown"),
}  # fmt: skip


def rendered(folder):
    """The page without its figures as files, which take most of the time; all are drawn."""
    study = read_study(folder)
    for draw, _ in build.FIGURES.values():
        draw(study)
    lines = [line for table in tables(study) for line in table.lines()]
    page = build.render_page(study, {}, ReportConfig())
    folder.report.mkdir(exist_ok=True)
    folder.report_file.write_text(page)
    return page, [text for line in lines for text in line]


@pytest.mark.parametrize("name", CASES)
def test_a_study_in_which_much_is_undefined_runs_through_every_stage(name, tmp_path, monkeypatch):
    folder = run_case(name, tmp_path, monkeypatch)
    page, cells = rendered(folder)
    text = page_text(folder)
    assert not BROKEN.findall(text), [text[max(0, m.start() - 50) : m.end() + 20]
                                      for m in BROKEN.finditer(text)]  # fmt: skip
    assert not [cell for cell in cells if BROKEN.search(cell)]
    for words in SAID[name]:
        assert words in text
    assert "% of the gain" not in text, "no case has a gain that a test shows"
    assert "terminal expansion: " not in text
    bare = re.findall(r"<td>–", page)
    assert not bare, f"{len(bare)} dashes without a reason"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study with every file, where the tuned model is the original at another temperature."""
    with pytest.MonkeyPatch.context() as patch:
        folder = run_case("doubled logits", tmp_path_factory.mktemp("whole"), patch)
        yield folder


FILES = [
    "study.json", "measurements.json", "timings.json", "judge/results.json",
    "explain/geometry.json", "explain/provenance.json", "explain/static_bias.json",
    "explain/block_swap.json", "explain/tokens.json",
]  # fmt: skip


def outcome(folder):
    """The message of a refusal, or nothing and the page."""
    try:
        return "", build.render_page(read_study(folder), {}, ReportConfig())
    except InputError as error:
        return str(error), ""


def assert_no_python(text, place):
    shown = re.sub(r'<section id="examples">.*?</section>', "", text, flags=re.DOTALL)
    broken = r"\b(nan|inf|NoneType|TypeError|Traceback)\b|>None<|float\(\)"
    assert not re.search(broken, shown), place


def put_null(content, path):
    for step in path[:-1]:
        content = content[step]
    before, content[path[-1]] = content[path[-1]], None
    return before


def check_every_null(folder, name, below=None):
    """Each number as null, one at a time: the page copes, or one message names the field."""
    file = folder.path / name
    original = file.read_text()
    paths = [p for p in every_number(json.loads(original)) if below in (None, p[0])]
    assert len(paths) > (0 if name == "timings.json" else 5), name
    refused = 0
    for path in paths:
        content = json.loads(original)
        put_null(content, path)
        rewrite(file, lambda _, content=content: content)
        reseal(folder.path)
        error, page = outcome(folder)
        if error:
            refused += 1
            assert str(path[-1]) in error, (path, error)
            assert name.split("/")[-1] in error
        assert_no_python(error or page, path)
    file.write_text(original)
    reseal(folder.path)
    return refused, len(paths)


@pytest.mark.parametrize("name", FILES)
def test_any_number_of_a_file_may_be_null(whole, name):
    refused, numbers = check_every_null(whole, name)
    assert refused < numbers or name == "timings.json"


def test_monitoring_and_runs_with_nulls(tmp_path):
    folder = plant(tmp_path / "study", seeds=(0, 1))
    check_every_null(folder, "study.json", below="runs")
    metrics = RunFolder(folder.path / "runs" / "hyperfitted-seed-0").metrics_file
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    planted = [build.FIGURES[name] for name in build.FIGURES if name != "front"]
    for name in rows[1]:
        changed = [dict(row) for row in rows]
        changed[1][name] = None
        metrics.write_text("".join(json.dumps(row) + "\n" for row in changed))
        error, page = outcome(folder)
        assert not error or (name in error and "metrics.jsonl" in error)
        assert error or name not in ("epoch", "num_contexts", "rank_1"), "never undefined"
        assert_no_python(error or page, name)
        figures = [] if error else [draw(read_study(folder)) for draw, _ in planted]
        assert error or all(figures)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_of_json_is_refused(folder, number):
    path = folder.measurements_file
    path.write_text(path.read_text().replace("0.77", number, 1))
    with pytest.raises(InputError, match=r"measurements\.json cannot be read") as caught:
        read_study(folder)
    assert number.strip("-") in str(caught.value)
