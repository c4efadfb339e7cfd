"""Is a tuned model only sharper? Tables and sentences on the original at equal entropy."""

from hyperfitting.records import Arm, PairedTest, Prefix
from hyperfitting.report.arms import MATCHED, SAMPLED, arm_of
from hyperfitting.report.load import Study
from hyperfitting.report.tables import (
    SIGNIFICANT,
    Cell,
    Table,
    difference,
    equivalence_table,
    metric_table,
    number,
    p_phrase,
    scientific,
    test_table,
)

METRICS: list[tuple[str, Prefix | None]] = [
    ("ttr", None),
    ("bigram_repetition", None),
    ("prediction_entropy_nats", None),
    ("prediction_entropy_own_nats", None),
    ("tau_star", None),
]


def matched_to(arm: Arm) -> Arm:
    """The tuned arm that a matched original was matched to."""
    fields = arm.fields
    return arm_of(fields.pop("matched_to"), arm.seed, fields)


def _order(study: Study) -> list[Arm]:
    """Human, original, then each tuned arm with its controls, matched ones first."""
    found = [arm for arm in study.shown if arm.name in ("human", "original", f"original{SAMPLED}")]
    for tuned in study.tuned:
        matched = [
            arm for arm in study.shown if arm.name.startswith(MATCHED) and matched_to(arm) == tuned
        ]
        sampled = tuned._replace(name=f"{tuned.name}{SAMPLED}")
        found += [*matched, tuned, *(arm for arm in study.shown if arm == sampled)]
    return found


def arms_table(study: Study) -> Table:
    """Variety and sharpness of every arm and its controls; empty without controls."""
    arms = _order(study)
    if not any(arm.name.startswith(MATCHED) for arm in arms):
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
        for name in ("greedy_positions", "greedy_differences", "rounding_ties")
    )
    return (
        "Greedy text is the same at every temperature, because dividing all logits by one positive "
        f"number keeps their order. Checked at {positions} positions: {differences} choices "
        f"changed, {ties} ties by rounding."
    )


def tests(study: Study) -> Table:
    """Tuned arms against the original sampled at equal entropy."""
    found = [test for test in study.tests if test.b == f"{MATCHED}{SAMPLED}"]
    return test_table(study, "temperature_tests", found)


def equivalence(study: Study) -> Table:
    """Is the text of the matched original as predictable as that of the tuned model?"""
    return equivalence_table(study, "equivalence", study.tests)


def verdicts(study: Study) -> list[str]:
    """One sentence per tuned arm: its greedy text against the original sampled at equal entropy."""
    return [
        _verdict(study, test)
        for test in study.tests
        if test.b == f"{MATCHED}{SAMPLED}"
        and test.metric == "ttr"
        and not test.a.endswith(SAMPLED)
        and test.difference is not None
    ]


def _verdict(study: Study, test: PairedTest) -> str:
    arm = arm_of(test.a, test.seed, test.a_parameters)
    start = (
        f"{study.label(arm)}, greedy, minus the original sampled at its entropy: TTR "
        f"{difference(test).text}, {p_phrase(test.p_holm)} (Holm)"
    )
    if test.p_holm is None or test.p_holm >= SIGNIFICANT or test.difference is None:
        return f"{start}: no difference shown."
    if test.difference > 0:
        return f"{start}: they differ, and sharpness alone does not give this variety."
    return f"{start}: they differ, but sampling at this sharpness is the more varied of the two."
