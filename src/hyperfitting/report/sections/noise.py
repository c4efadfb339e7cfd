"""How much is noise: trainings that differ in the seed, or the order of the data, alone."""

from collections.abc import Mapping, Sequence

from hyperfitting.config import ReportConfig
from hyperfitting.records import Arm
from hyperfitting.records.study import Agreement
from hyperfitting.report.load import Study
from hyperfitting.report.tables import Cell, Content, Table, estimate, number

TITLE = "How much is noise"


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = agreements(study)
    return {"table": table, "words": agreement_in_words(study)} if table else None


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [agreements(study)]


def agreements(study: Study) -> Table:
    """Top-1 agreement of every two trainings of one kind."""
    header = [("one training", ""), ("another", ""), ("Top-1 agreement (TF)", "share")]
    rows = [
        [Cell(study.label(pair.a)), Cell(study.label(pair.b)), estimate(pair)]
        for pair in study.agreements
    ]
    return Table("run_agreement", header, rows)


def agreement_in_words(study: Study) -> list[str]:
    """For each arm: how far its trainings agree, where only the seed differs."""
    groups: dict[Arm, list[Agreement]] = {}
    for pair in study.agreements:
        if pair.a.variant == pair.b.variant:
            groups.setdefault(pair.a.variant, []).append(pair)
    return [_agreement_in_words(study, arm, pairs) for arm, pairs in groups.items()]


def _agreement_in_words(study: Study, arm: Arm, pairs: Sequence[Agreement]) -> str:
    values = [pair.value for pair in pairs if pair.value is not None]
    if not values:
        return f"{study.label(arm)}: undefined."
    spread = "" if len(values) == 1 else f" ({number(min(values), 3)} to {number(max(values), 3)})"
    pair = "one pair" if len(values) == 1 else f"{len(values)} pairs"
    return (
        f"{study.label(arm)}: two trainings choose the same token at "
        f"{number(sum(values) / len(values), 3)} of the positions{spread}, {pair}."
    )
