"""Is a tuned model only sharper? Tables and sentences on the original at equal entropy."""

from collections.abc import Mapping

from hyperfitting.config import ReportConfig
from hyperfitting.records import Arm, Prefix
from hyperfitting.report.load import Study
from hyperfitting.report.sections.certainty import families_in_words
from hyperfitting.report.sections.only_sharper import (
    evidence_table,
    is_like_with_like,
    verdicts,
)
from hyperfitting.report.tables import (
    Cell,
    Content,
    Table,
    equivalence_table,
    metric_table,
    number,
    scientific,
    test_table,
)

TITLE = "Is it only sharper?"
METRICS: list[tuple[str, Prefix | None]] = [
    ("ttr", None),
    ("bigram_repetition", None),
    ("prediction_entropy_nats", None),
    ("prediction_entropy_own_nats", None),
    ("tau_star", None),
]


def content(study: Study, _svgs: Mapping[str, str], _config: ReportConfig) -> Content | None:
    """What the template shows; None without data."""
    table = arms_table(study)
    if not table:
        return None
    return {
        "table": table,
        "invariance": invariance_in_words(study),
        "verdicts": verdicts(study),
        "evidence": evidence_table(study),
        "families": families_in_words(study),
        "tests": tests(study),
        "equivalence": equivalence(study),
        "matching": matching_table(study),
        "sampling_seeds": study.info.evaluate.sampling_seeds,
    }


def tables(study: Study) -> list[Table]:
    """For the files."""
    return [evidence_table(study), arms_table(study), matching_table(study)]


def _order(study: Study) -> list[Arm]:
    """Human, original, then each tuned arm with its controls, matched ones first."""
    found = [arm for arm in study.shown if not arm.is_trained and not arm.is_decoded]
    for tuned in study.tuned:
        matched = [arm for arm in study.shown if arm.matched_to and arm.match.greedy() == tuned]
        found += [*matched, tuned, *(arm for arm in study.shown if arm == tuned.sampled())]
    return found


def arms_table(study: Study) -> Table:
    """Variety and sharpness of every arm and its controls; empty without controls."""
    arms = _order(study)
    if not any(arm.matched_to for arm in arms):
        return Table("temperature", [], [])
    return metric_table(study, "temperature", arms, METRICS)


def matching_table(study: Study) -> Table:
    """The temperatures of equal entropy, in the three ways to match."""
    names = ["tuned arm", "temperature", "mean", "median", "5 %", "95 %", "n", "unsolved"]
    header = [*((name, "") for name in names), ("largest residual", "nats")]
    rows = []
    for found in study.matching:
        for each in found.temperatures:
            spread = (
                Cell(number(value, 2), reason="" if value is not None else "one temperature only")
                for value in (each.mean, each.median, each.p5, each.p95)
            )
            counts = (Cell(number(count, 0)) for count in (each.n, each.unsolved))
            left = each.residual_nats
            residual = Cell(scientific(left), reason="" if left is not None else "none was solved")
            rows.append([Cell(study.label(found.arm)), Cell(each.kind), *spread, *counts, residual])
    return Table("matched_temperatures", header, rows)


def invariance_in_words(study: Study) -> str:
    """That greedy text does not change with temperature, and how that was checked."""
    if not study.matching:
        return ""
    positions, differences, ties = (
        number(sum(getattr(found, name) for found in study.matching), 0)
        for name in ("greedy_positions", "greedy_differences", "greedy_ties_by_rounding")
    )
    return (
        "Greedy text is the same at every temperature, because dividing all logits by one positive "
        f"number keeps their order. Checked at {positions} positions: {differences} choices "
        f"changed, {ties} ties by rounding."
    )


def tests(study: Study) -> Table:
    """Tuned arms, sampled, against the original sampled at equal entropy."""
    return test_table(study, "temperature_tests", [t for t in study.tests if is_like_with_like(t)])


def equivalence(study: Study) -> Table:
    """Is the original, sampled at equal entropy, as varied as the tuned model sampled?"""
    found = [test for test in study.tests if is_like_with_like(test)]
    return equivalence_table(study, "temperature_equivalence", found)
