import pytest

from hyperfitting.config import ReportConfig
from hyperfitting.report.load import read_study
from hyperfitting.report.verb import render_page, report
from tests.report.planted import plant


@pytest.fixture
def folder(tmp_path):
    return plant(tmp_path / "study")


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A folder whose report was written, figures and all. Not to be changed."""
    folder = plant(tmp_path_factory.mktemp("written") / "study")
    report(folder.path, ReportConfig())
    return folder


@pytest.fixture(scope="session")
def page(written):
    return written.report_file.read_text()


@pytest.fixture
def page_of(tmp_path):
    """The page, without figures, of a study planted with other arguments."""

    def render(**arguments):
        study = read_study(plant(tmp_path / "other", **arguments))
        return render_page(study, {}, ReportConfig())

    return render
