"""The token viewer's data: the file's numbers, as text that no page can mistake for markup."""

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperfitting.config import ReportConfig
from hyperfitting.records.record import read_file
from hyperfitting.records.traces import TracesFile
from hyperfitting.report.load import read_study
from hyperfitting.report.sections.viewer import in_script, viewer_data
from hyperfitting.report.verb import render_page, viewer_script
from tests.report.planted import ATTACK, plant


def data_in(page):
    found = re.search(
        r'<script type="application/json" id="viewer-data">(.*?)</script>', page, re.S
    )
    return json.loads(found[1])


def test_every_number_in_the_page_is_the_files(written, page):
    data = data_in(page)
    file = read_file(TracesFile, written.traces_file, "")
    assert [arm["name"] for arm in data["arms"]] == [each.arm.name for each in file.arms]
    for row, each in zip(data["texts"], file.arms, strict=True):
        for shown, kept in zip(row, each.texts, strict=True):
            names = {"r": "rank", "o": "original", "t": "tuned", "ot": "original_top",
                     "op": "original_top_p", "tt": "tuned_top", "tp": "tuned_top_p",
                     "loop": "loop", "copied": "recited", "broken": "broken"}  # fmt: skip
            for short, name in names.items():
                assert shown[short] == getattr(kept, name)
            assert shown["ttr"] == 0.75
    assert data["words"]["2"] == " said"
    assert "\x1b" not in json.dumps(data)


def test_fewer_examples_are_fewer_texts(folder):
    study = read_study(folder)
    assert viewer_data(study, 0) is None
    one = viewer_data(study, 1)
    assert len(one["contexts"]) == 1
    assert all(len(row) == 1 for row in one["texts"])


def test_a_study_of_an_older_version_has_no_viewer_and_no_script(tmp_path):
    study = plant(tmp_path / "old")
    study.traces_file.unlink()
    page = render_page(read_study(study), {}, ReportConfig())
    assert "<script" not in page
    assert 'id="viewer"' not in page


@given(st.text() | st.sampled_from([ATTACK, "</script>", "<!--", "]]>", "\u2028&\u202e"]))
def test_text_of_a_model_cannot_end_the_element_and_comes_back_as_it_was(text):
    written = str(in_script({"a": [text]}))
    assert not set("<>&") & set(written)
    assert json.loads(written) == {"a": [text]}
    assert "\u2028" not in written
    assert "\u202e" not in written


def test_the_script_is_small_and_reads_no_markup():
    script = viewer_script()
    assert len(script.encode()) < 25_000
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                      "Function(", "fetch(", "XMLHttpRequest", "import("):  # fmt: skip
        assert forbidden not in script


def test_the_policy_names_the_digest_of_the_script(page):
    import base64
    import hashlib

    script = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]


@pytest.mark.parametrize("kind", ["ttr"])
def test_a_ttr_is_that_of_the_text(kind, folder):
    with tempfile.TemporaryDirectory() as name:
        study = plant(Path(name) / "s")
        data = viewer_data(read_study(study), 2)
    assert {text[kind] for row in data["texts"] for text in row} == {0.75}
