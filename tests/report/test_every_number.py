"""Every number of the page and of its tables is one of the files', and stands where it belongs.

Each measured value of a study is replaced by a number that no other has and that nothing else on
the page can be. Then every number of that size is looked up, with its arm and its metric.
"""

import html
import json
import re

import pytest

from hyperfitting.config import ReportConfig
from hyperfitting.measure.catalogue import METRICS
from hyperfitting.records import ORIGINAL
from hyperfitting.report import verb
from hyperfitting.report.load import Study, read_study
from hyperfitting.report.page import tables
from hyperfitting.report.verb import report
from tests.report.planted import measurement, plant
from tests.sealing import rewrite

SMALLEST = 100_000  # nothing that is not planted comes near it
LARGEST = 1e9  # shares in percent are below it, digests above
STEP = 10
BELOW, ABOVE = 3, 4  # of the ends of an interval
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?![\w])")
ARMS = (("human", None), ("original", None), ("hyperfitted", 0))


class Fingerprints:
    """Gives every estimate a number of its own, and knows whose it is."""

    def __init__(self):
        self.known = {}
        self.next = SMALLEST

    def mark(self, content, where):
        """Mark all estimates below `content` in place; `where` is what they are of."""
        if isinstance(content, list):
            for entry in content:
                self.mark(entry, where)
        elif isinstance(content, dict):
            where = where | {k: content[k] for k in ("arm", "metric", "a", "b") if k in content}
            for key in ("mean", "value", "difference"):
                if isinstance(content.get(key), float):
                    self.number(content, key, where)
                    break
            else:
                for key, entry in content.items():
                    self.mark(entry, where | {"field": key})

    def number(self, content, key, where):
        content[key] = float(self.next)
        for end, change in (("low", -BELOW), ("high", ABOVE)):
            if content.get(end) is not None:
                content[end] = content[key] + change
        for change in (0, -BELOW, ABOVE):
            self.known[self.next + change] = where
        self.next += STEP


def every_metric():
    """A value of every metric of the catalogue for every arm that `plant` does not give one."""
    return [
        measurement(arm, name, 0.5, seed, prefix="TF" if "TF" in metric.label else None)
        for name, metric in METRICS.items()
        for arm, seed in ARMS
    ]


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A reported study of marked numbers, and what they are."""
    folder = plant(tmp_path_factory.mktemp("marked") / "study")
    marks = Fingerprints()

    def measured(content):
        have = {(row["arm"], row["metric"]) for row in content["rows"]}
        content["rows"] += [
            json.loads(json.dumps(vars(row)))
            for row in every_metric()
            if (row.arm, row.metric) not in have
        ]
        marks.mark(content, {"file": "measurements"})

    rewrite(folder.measurements_file, measured)
    for path in sorted(folder.explain.glob("*.json")):
        rewrite(path, lambda content, path=path: marks.mark(content["arms"], {"file": path.stem}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verb, "FIGURES", {})  # their axes end at 1
        report(folder.path, ReportConfig())
    return folder, marks.known


def numbers(text):
    """The numbers of a text that can only be marked ones."""
    found = (float(each.replace(",", "")) for each in NUMBER.findall(text))
    return [abs(value) for value in found if SMALLEST / 2 <= abs(value) < LARGEST]


def of(value, known):
    """What a number is of; shares may be shown in percent."""
    return known.get(value) or known.get(value / 100)


def test_there_is_much_to_walk(marked):
    folder, known = marked
    found = [n for path in folder.tables.glob("*.csv") for n in numbers(path.read_text())]
    assert len(known) > 900
    assert len(found) > 1_000
    assert len({n for n in found if n in known}) > 700


def test_every_number_of_every_table_is_one_of_the_files(marked):
    folder, known = marked
    for path in folder.tables.glob("*.csv"):
        strange = [n for n in numbers(path.read_text()) if of(n, known) is None]
        assert strange == [], path.name


def misplaced(study, known):
    """Numbers of measurements in the row of another arm or the column of another metric.

    Also how many stood under the name of a metric.
    """
    labels = {study.label(arm): arm.name for arm in study.arms}
    names = {metric.label.split(" (")[0] for metric in METRICS.values()}
    wrong, checked = [], 0
    for table in tables(study):
        for row in table.rows:
            for (column, _), each in zip(table.header[1:], row[1:], strict=True):
                for value in numbers(each.line):
                    found = of(value, known)
                    if found["file"] != "measurements" or "a" in found:
                        continue
                    where = (table.name, column, row[0].value, found)
                    if row[0].value in labels:
                        wrong += [where] * (found["arm"] != labels[row[0].value])
                    named = [n for n in (column, row[0].value) if n.split(" (")[0] in names]
                    if named:
                        checked += 1
                        label = METRICS[found["metric"]].label.split(" (")[0]
                        wrong += [where] * all(name.split(" (")[0] != label for name in named)
    return wrong, checked


def test_every_number_of_an_arms_row_is_that_arms_and_its_columns_metric(marked):
    folder, known = marked
    wrong, checked = misplaced(read_study(folder), known)
    assert wrong == []
    assert checked > 200


def test_every_number_of_the_page_is_one_of_the_files(marked):
    folder, known = marked
    page = folder.report_file.read_text()
    for left_out in (r"<script.*?</script>", r"<style.*?</style>", r"<svg.*?</svg>"):
        page = re.sub(left_out, " ", page, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]*>", " ", page))
    found = numbers(text)
    assert len(found) > 400
    assert [n for n in found if of(n, known) is None] == []


def test_a_number_in_the_wrong_place_is_noticed(marked, monkeypatch):
    folder, known = marked
    study = read_study(folder)
    own = Study.cell
    monkeypatch.setattr(
        Study,
        "cell",
        lambda self, arm, *which: own(self, ORIGINAL if arm.is_tuned else arm, *which),
    )
    wrong, _ = misplaced(study, known)
    assert len(wrong) > 20
    assert of(SMALLEST + 1.0, known) is None
