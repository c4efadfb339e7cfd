"""Paired tests, and what they can and cannot say."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.report.load import Study
from hyperfitting.report.sections.certainty import (
    families_in_words,
    losses_in_words,
    trainings_in_words,
)
from hyperfitting.report.tables import Content, Table, equivalence_table, test_table

TITLE = "Paired tests"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = test_table(study, "tests", study.tests)
    if not table:
        return None
    return {
        "table": table,
        "words": trainings_in_words(study),
        "families": families_in_words(study),
        "losses": losses_in_words(study),
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [
        test_table(study, "tests", study.tests),
        equivalence_table(study, "equivalence", study.tests),
    ]
