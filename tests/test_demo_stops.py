"""A demo that cannot end is refused before it trains; one that was stopped is found again."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import hyperfitting.demo
from hyperfitting.cli.main import app
from hyperfitting.models import anatomy
from hyperfitting.runs import StudyFolder
from tests.test_demo import SMALL


def stop(*_args, **_options):
    raise KeyboardInterrupt


def invoked(out, *settings):
    return CliRunner().invoke(app, ["demo", "--out", str(out), *settings])


def small(out: Path | None = None, *settings):
    place = [] if out is None else ["--out", str(out)]
    return CliRunner().invoke(app, ["demo", *place, *SMALL, *settings], catch_exceptions=False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["explain.swap_blocks=[0, 99]"], "explain.swap_blocks holds 99, the model has"),
        (["explain.swap_blocks=[999]"], "explain.swap_blocks holds 999, the model has"),
        (["evaluate.mauve_seeds=9"], "mauve_seeds=9 is given without"),
        (["evaluate.natural_tokens=0", "data.continuation_tokens=99999"], "tokens are asked for"),
    ],
)
def test_settings_of_later_stages_are_checked_before_anything_is_trained(settings, words, tmp_path):
    result = invoked(tmp_path / "out", *settings)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_no_control_knows_is_refused_before_it_is_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(anatomy, "FAMILIES", {})
    monkeypatch.setattr(hyperfitting.demo, "train", stop)
    result = invoked(tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert "cannot be told apart" in result.stderr
    assert not (tmp_path / "out").exists()
    result = invoked(tmp_path / "out", "explained=[]")  # no control is asked for
    assert result.exit_code == 130, result.output


def test_other_settings_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(hyperfitting.demo, "train", stop)
    out = tmp_path / "demo"
    assert small(out).exit_code == 130
    result = small(out, "--seed", "1")
    assert result.exit_code == 2
    assert "was begun with train.seed=0, and train.seed=1 is given now" in result.stderr
    (out / "settings.json").rename(out / "mine.json")
    result = small(out)
    assert result.exit_code == 2
    assert "holds other files" in result.stderr


def test_without_a_folder_the_one_that_was_stopped_is_found(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hyperfitting.demo, "train", stop)
    assert small().exit_code == 130
    page = StudyFolder(Path("hyperfit-demo")).report_file  # as of one that is complete
    page.parent.mkdir()
    page.touch()
    assert small(None, "--seed", "1").exit_code == 130  # stopped, of other settings
    assert "going on" not in small().stderr
    assert "going on in hyperfit-demo-3" in small().stderr
    folders = sorted(path.name for path in Path().iterdir())
    assert folders == ["hyperfit-demo", "hyperfit-demo-2", "hyperfit-demo-3"]
