"""The page and the files of a made-up study; model text stays text."""

import csv
import html
import io
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from hyperfitting.config import ReportConfig
from hyperfitting.errors import InputError
from hyperfitting.report import verb as build
from hyperfitting.report.load import read_study
from hyperfitting.report.page import SECTIONS
from hyperfitting.report.verb import FIGURES, NARROW, render_page, report
from hyperfitting.runs import StudyFolder

TABLES = {
    "arms", "trainings", "only_sharper", "temperature", "matched_temperatures", "tests",
    "equivalence", "ranks",
    "provenance", "static_bias", "geometry", "block_swap", "joint_null",
    "single_blocks", "rotation", "rotation_hybrids", "lens", "overrides",
    "token_kinds", "paper_entropy_matched",
    "paper_static_injection", "paper_methods", "paper_time", "paper_numbers",
}  # fmt: skip

TITLES = {name: section.TITLE for name, section in SECTIONS.items()}
# Sections of what `plant` does not write.
NOT_PLANTED = {
    TITLES[name]
    for name in ("noise", "quality", "judge", "domains", "tasks", "nulls", "strength", "front",
                 "matched_loss", "exports")
}  # fmt: skip
EXPLAINED = ("static", "joint", "place", "overrides", "lens", "rotation")
PLANTED_FIGURES = FIGURES.keys() - {"front"}


def section(page, name):
    """A section as it is seen while no reason is opened."""
    opened = r'<details class="why"><summary>(.*?)</summary><span>.*?</span></details>'
    whole = page.split(f'<section id="{name}">')[1].split("</section>")[0]
    return re.sub(opened, r"\1", whole, flags=re.DOTALL)


def headings(page):
    return [html.unescape(title) for title in re.findall(r"<h2>(.*?)</h2>", page)]


def test_model_text_is_escaped_and_control_characters_are_gone(page):
    assert page.count("<script") == 2  # the viewer's data, and what shows them
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in section(page, "examples")
    assert "49 " not in section(page, "examples")
    assert "\x1b" not in page
    assert "m<b>" not in page
    assert "m&lt;b&gt;" in page


def test_token_texts_are_escaped_and_their_spaces_visible(page):
    promoted = section(page, "static").split("Most promoted")[1]
    assert "␣&lt;script&gt;" in promoted.split("</th>")[3]


def test_the_page_needs_nothing_from_elsewhere(page):
    for marker in ("<link", "src=", "url(http", "@import", 'http-equiv="refresh'):
        assert marker not in page
    assert page.count("<svg") == len(PLANTED_FIGURES) + len(NARROW)


def test_the_story_is_told_in_order(page):
    titles = [title for title in TITLES.values() if title not in NOT_PLANTED]
    assert headings(page) == titles
    nav = page.split("<nav")[1].split("</nav>")[0]
    assert re.findall(r'href="#(\w+)"', nav) == re.findall(r'<section id="(\w+)">', page)


def test_a_section_without_data_is_absent(page_of):
    page = page_of(is_explained=False)
    absent = {TITLES[name] for name in EXPLAINED} | {"What kind of token"}
    assert set(headings(page)) == set(TITLES.values()) - absent - NOT_PLANTED
    assert "svg" not in page.split("</style>")[1]


def test_every_number_has_its_interval_and_n(page):
    results = section(page, "results")
    assert "0.700<small>[0.690, 0.710]</small></td>" in results
    assert "n = 2 in every cell with an interval" in results
    reason = "<summary>–</summary><span>human text is not the output of a model</span>"
    assert reason in page.split('<section id="results">')[1]


def test_the_first_sentence_answers_the_question(page):
    answer = section(page, "results").split('class="answer">')[1].split("<")[0]
    assert answer == (
        "hyperfitted: TTR 0.700 [0.690, 0.710] (original 0.120, human 0.770), whether the text is "
        "intact is not known: coherence not known (not measured), words that do not exist not "
        "known (not measured); "
        "share of texts that loop where they may end (natural) 0.00 [0.00, 0.00] (original 0.90)."
    )


def test_only_greedy_arms_are_in_the_results_and_side_by_side(page):
    assert "sampled" not in section(page, "results")
    assert "sampled" not in section(page, "examples")
    assert "hyperfitted_<wbr>sampled" in section(page, "temperature")


def test_the_level_and_the_stop_are_those_of_the_study(page):
    assert "90% bootstrap interval" in section(page, "results")
    assert "95%" not in section(page, "results").split("</svg>")[1]
    assert "chosen on them" in section(page, "training")


def test_temperature_is_answered_like_with_like(page):
    text = " ".join(section(page, "temperature").split())
    assert "Checked at 4,000 positions: 0 choices changed, 3 ties by rounding." in text
    assert "hyperfitted is not only sharper. Rejected by greedy text (45.0 % of" in text
    assert "sampled text (TTR +0.130 [+0.030, +0.230], p = .004 (Holm))" in text
    assert "+0.080" not in text, "greedy against sampled is no test of a temperature"
    assert "&gt; .999" in text  # the equivalence test
    assert "90 % interval" in text
    assert "not shown" in text
    assert "9.0e-05" in text
    assert "2.0e-09" in text  # a residual has no sign


def test_sampling_at_equal_entropy_is_another_decoder(page):
    text = " ".join(section(page, "decoders").split())
    assert "hyperfitted, greedy, minus the original sampled at its entropy: TTR +0.080" in text
    assert "p = .005 (Holm): greedy text is the more varied." in text
    assert "hyperfitted_<wbr>sampled" not in text


def test_looped_texts_that_may_end_and_those_of_fixed_length_have_two_names(page, written):
    assert ">Looped (natural)<small>" in section(page, "endings")
    assert 'class="looped">looped (fixed length)<' in section(page, "examples")
    for name in ("block_swap", "static_bias"):
        header = (written.tables / f"{name}.csv").read_text().splitlines()[0]
        assert "looped (fixed length)" in header
    seen = re.sub(r"<script.*?</script>", "", page.split("</style>")[1], flags=re.DOTALL)
    words = re.sub(r"<[^>]*>|\s+", " ", seen)
    for found in re.finditer(r"[Ll]oop(ed|s)? +(\S+ +\S+)", words):
        if found[1] == "ed" and "Looped texts of fixed" not in found[0]:
            assert found[2].startswith(("(natural)", "(fixed", "(its tail")), found[0]


def test_a_final_loss_has_the_interval_over_its_windows(page):
    assert ">0.030<small>[0.021, 0.042]</small>" in section(page, "training")
    assert "over its training windows" in section(page, "training")


def test_line_separators_in_a_text_do_not_cut_the_file(folder):
    texts = folder.read_generations("generations/original--k.jsonl")
    odd = [replace(text, continuation="a\u2028b\x85c\u2029") for text in texts]
    folder.write_generations("k", odd)
    assert folder.read_generations("generations/original--k.jsonl") == odd


def test_tables_and_figures_are_written_as_files(written):
    assert {p.name for p in written.tables.iterdir()} == {
        f"{name}.{ending}" for name in TABLES for ending in ("md", "csv", "tex")
    }
    assert {p.name for p in written.figures.iterdir()} == {
        f"{name}.{ending}" for name in PLANTED_FIGURES for ending in ("png", "pdf")
    }
    rows = list(csv.reader(io.StringIO((written.tables / "arms.csv").read_text())))
    assert rows[0][:2] == ["arm", "TTR (distinct tokens / tokens)"]
    by_arm = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}
    assert by_arm["hyperfitted"]["TTR (distinct tokens / tokens)"] == "0.700 [0.690, 0.710] (n=2)"
    assert by_arm["human"]["Validation perplexity"] == "–"
    assert by_arm["hyperfitted"]["Rank 1 (OP) (share)"].startswith("0.610 ")
    assert by_arm["hyperfitted"]["Rank 1 (TF) (share)"].startswith("0.520 ")
    assert len(rows) == 1 + 7


def test_a_second_report_is_equal_and_leaves_no_old_files(folder, monkeypatch):
    few = {name: FIGURES[name] for name in ("diversity", "geometry")}
    monkeypatch.setattr(build, "FIGURES", few)
    report(folder.path, ReportConfig())
    first = folder.report_file.read_text()
    report(folder.path, ReportConfig())
    assert folder.report_file.read_text() == first
    for path in folder.explain.iterdir():
        path.unlink()
    report(folder.path, ReportConfig())
    assert not (folder.tables / "geometry.csv").exists()
    assert not (folder.figures / "geometry.png").exists()
    assert (folder.tables / "temperature.csv").exists()


def test_the_number_of_examples_is_that_asked_for(folder):
    study = read_study(folder)
    for asked, shown in ((0, 0), (1, 1), (9, 2)):
        page = render_page(study, {}, ReportConfig(num_examples=asked))
        assert page.count('<div class="example">') == shown


def test_a_folder_that_was_not_evaluated_says_what_to_run(tmp_path):
    with pytest.raises(InputError, match=r"no study\.json"):
        read_study(StudyFolder(tmp_path))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="hint: run `hyperfit evaluate"):
        read_study(StudyFolder(tmp_path))


@pytest.mark.parametrize("name", ["measurements_file", "study_file"])
@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_damaged_files_are_named(folder, name, content):
    getattr(folder, name).write_text(content)
    words = r"measurements\.json|study\.json" if content == "{" else "run `hyperfit evaluate` again"
    with pytest.raises(InputError, match=words):
        read_study(folder)


def test_a_page_is_made_anew_without_torch(folder):
    code = (
        "import sys; from hyperfitting.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'peft'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code, "report", str(folder.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert folder.report_file.exists()
