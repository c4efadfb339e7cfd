"""What the page shows: its sections, in the order of the story. Pure.

A section is a module of `sections/` and a template of the same name; a section without data is
absent from the page.
"""

from collections.abc import Mapping
from typing import Protocol

from hyperfitting.config import ReportConfig
from hyperfitting.report.load import Study
from hyperfitting.report.sections import (
    decoders,
    domains,
    endings,
    examples,
    exports,
    front,
    joint,
    judge,
    lens,
    matched_loss,
    noise,
    nulls,
    overrides,
    paper,
    place,
    quality,
    ranks,
    results,
    rotation,
    sources,
    static,
    strength,
    tasks,
    temperature,
    tests,
    tokens,
    training,
    verdict,
    viewer,
)
from hyperfitting.report.tables import Content, Table


class Section(Protocol):
    """What a module of `sections/` has to have."""

    TITLE: str  # its heading

    def content(
        self, study: Study, svgs: Mapping[str, str], config: ReportConfig, /
    ) -> Content | None:
        """What its template is given as `section`; None where there is nothing to show."""

    def tables(self, study: Study, /) -> list[Table]:
        """Its tables as files; one without rows is not written."""


SECTIONS: Mapping[str, Section] = {
    "verdict": verdict,
    "viewer": viewer,
    "examples": examples,
    "results": results,
    "matched_loss": matched_loss,
    "nulls": nulls,
    "strength": strength,
    "front": front,
    "endings": endings,
    "quality": quality,
    "judge": judge,
    "decoders": decoders,
    "domains": domains,
    "tasks": tasks,
    "exports": exports,
    "training": training,
    "temperature": temperature,
    "ranks": ranks,
    "static": static,
    "joint": joint,
    "overrides": overrides,
    "lens": lens,
    "place": place,
    "rotation": rotation,
    "tokens": tokens,
    "noise": noise,
    "paper": paper,
    "tests": tests,
    "sources": sources,
}


def sections(study: Study, svgs: Mapping[str, str], config: ReportConfig) -> dict[str, Content]:
    """The content of every section with data, by its id."""
    found = {name: each.content(study, svgs, config) for name, each in SECTIONS.items()}
    return {
        name: {"id": name, "title": SECTIONS[name].TITLE} | content
        for name, content in found.items()
        if content
    }


def tables(study: Study) -> list[Table]:
    """Every table of every section."""
    return [table for section in SECTIONS.values() for table in section.tables(study)]
