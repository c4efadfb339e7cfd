"""Is a tuned model the original at another temperature? Four things a temperature leaves alone.

Like is compared with like: greedy text with greedy text, sampled text with sampled text of equal
entropy. Whether sampling would be as varied as greedy text is another question (`decoders.py`).
"""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from hyperfitting.records import SIGNIFICANT, Arm, PairedTest
from hyperfitting.records.matching import Matching, OneTemperature
from hyperfitting.report.load import Study
from hyperfitting.report.tables import (
    Cell,
    Table,
    difference,
    metric_label,
    number,
    p_phrase,
    scientific,
)

# What rounding may do to a model that is the original at one temperature.
LARGEST_SHARE = 0.001  # of choices that differ, and of a rank correlation below 1
LARGEST_STEP_NATS = 1e-3  # ten times the solver's tolerance
LARGEST_SPREAD = 0.01  # of the contexts' temperatures beyond the tolerance, by their median


Says = Literal["as a temperature", "rejected", "open"]


class Evidence(NamedTuple):
    """What one comparison says of "only another temperature"."""

    what: str
    expected: str  # were it only a temperature
    found: str
    says: Says


def is_like_with_like(test: PairedTest) -> bool:
    """Whether a test sets sampled text against the original's sampled at equal entropy."""
    one, other = test.arms
    return one.is_sampled and is_matched_sampled(other)


def is_matched_sampled(arm: Arm) -> bool:
    """Whether it is the original, sampled at a tuned model's entropy."""
    return arm.matched_to is not None and arm.is_sampled


def evidence(study: Study, arm: Arm) -> list[Evidence]:
    """Greedy text, sampled text, the temperature itself, and the order of the tokens."""
    parts: Sequence[Callable[[Study, Arm], Evidence]] = (_greedy, _sampled, _constant, _order)
    return [part(study, arm) for part in parts]


def _matchings(study: Study, arm: Arm) -> list[Matching]:
    """Of every training of an arm."""
    return [found for found in study.matching if found.arm.variant == arm.variant]


def _greedy(study: Study, arm: Arm) -> Evidence:
    what, expected = "greedy text", "the same choices"
    found = [study.cell(arm, f"top1_agreement_{prefix}") for prefix in ("tf", "op")]
    changed = [1 - each.mean for each in found if each is not None and each.mean is not None]
    if not changed:
        return Evidence(what, expected, "choices were not compared", "open")
    words = f"{number(100 * changed[0], 1)} % of the choices on human text differ"
    counted = [m for m in _matchings(study, arm) if m.greedy_texts_equal is not None]
    if counted:
        equal = sum(m.greedy_texts_equal or 0 for m in counted)
        words += f"; {equal} of {sum(m.greedy_texts or 0 for m in counted)} texts are the same"
    return Evidence(what, expected, words, _judge(max(changed) <= LARGEST_SHARE))


def _sampled(study: Study, arm: Arm) -> Evidence:
    what, expected = "sampled text", "as varied at equal entropy"
    tests = [
        test for test in study.tests if is_like_with_like(test) and test.arms[0] == arm.sampled()
    ]
    if not any(test.difference is not None for test in tests):
        return Evidence(what, expected, "not sampled, or too few contexts", "open")
    differing = [t for t in tests if t.p_holm is not None and t.p_holm < SIGNIFICANT]
    if differing:
        parts = [
            f"{metric_label(t.metric)} {difference(t).text}, {p_phrase(t.p_holm)}"
            for t in differing
        ]
        return Evidence(what, expected, f"{'; '.join(parts)} (Holm)", "rejected")
    equal = next((t for t in tests if t.p_equivalence is not None), None)
    if equal is None or equal.p_equivalence is None or equal.p_equivalence >= SIGNIFICANT:
        margin = "" if equal is None else f" within ±{equal.margin:g} of TTR"
        words = f"no difference shown, and equality{margin} not shown either"
        return Evidence(what, expected, words, "open")
    words = f"TTR equal within ±{equal.margin:g}, {p_phrase(equal.p_equivalence)}"
    return Evidence(what, expected, words, "as a temperature")


def _constant(study: Study, arm: Arm) -> Evidence:
    found = _matchings(study, arm)
    what = "temperature of equal entropy"
    known = [(m, m.one_temperature) for m in found if m.one_temperature is not None]
    if not known:
        return Evidence(what, "one for all", "not compared over steps", "open")
    left = fmean(one.step_residual_nats for _, one in known)
    expected = max(one.expected_nats for _, one in known)
    low, high = (fmean(getattr(m.per_step, end) for m, _ in known) for end in ("p5", "p95"))
    of = f", means of {len(known)} trainings" if len(known) > 1 else ""
    words = (
        f"per step {number(low, 2)} to {number(high, 2)} (5 to 95 %{of}); one for each context "
        f"misses the entropy of a step by {_nats(left)} nats on average"
    )
    expects = f"one for all; then it misses by {scientific(expected)} nats"
    said = [_one_for_all(matching, one) for matching, one in known]
    unsolved = sum(m.per_context.unsolved for m, _ in known)
    if unsolved and "rejected" not in said:
        over = f", over {len(known)} trainings" if len(known) > 1 else ""
        words = f"no temperature that is tried gives the entropy of {unsolved} contexts{over}"
    elif 0 < (rejecting := said.count("rejected")) < len(said):
        words += f"; that rejects it in {rejecting} of {len(said)} trainings"
    return Evidence(what, expects, words, said[0] if len(set(said)) == 1 else "open")


def _one_for_all(matching: Matching, one: OneTemperature) -> Says:
    """Whether one temperature serves all contexts and steps of one training."""
    is_apart = one.spread_beyond_tolerance > LARGEST_SPREAD * matching.per_context.median
    unsolved = matching.per_context.unsolved
    if is_apart or (one.step_residual_nats > LARGEST_STEP_NATS and not unsolved):
        return "rejected"
    return "open" if unsolved else "as a temperature"


def _order(study: Study, arm: Arm) -> Evidence:
    what, expected = "order of the tokens", "Spearman 1"
    found = study.cell(arm, "spearman", "TF")
    if found is None or found.mean is None:
        return Evidence(what, expected, "not measured on human text", "open")
    words = f"Spearman {number(found.mean, 3)} on human text"
    return Evidence(what, expected, words, _judge(found.mean >= 1 - LARGEST_SHARE))


def _judge(fits: bool) -> Literal["as a temperature", "rejected"]:
    return "as a temperature" if fits else "rejected"


def _nats(value: float) -> str:
    return number(value, 2) if value >= 0.01 else scientific(value)


def verdicts(study: Study) -> list[str]:
    """One sentence per tuned arm that was matched: only sharper, not only sharper, or not shown."""
    return [
        _verdict(study, arm, evidence(study, arm)) for arm in study.tuned if _matchings(study, arm)
    ]


def is_only_sharper(study: Study, arm: Arm) -> Says | None:
    """What all evidence on a tuned arm says together; None where it was not matched."""
    if not _matchings(study, arm):
        return None
    said = {each.says for each in evidence(study, arm)}
    if "rejected" in said:
        return "rejected"
    return "open" if "open" in said else "as a temperature"


def _verdict(study: Study, arm: Arm, found: Sequence[Evidence]) -> str:
    name = study.label(arm)
    rejecting = [f"{each.what} ({each.found})" for each in found if each.says == "rejected"]
    unsure = [f"{each.what} ({each.found})" for each in found if each.says == "open"]
    if rejecting:
        others = [each.what for each in found if each.says == "as a temperature"]
        as_one = f" As a temperature leaves it: {', '.join(others)}." if others else ""
        not_known = f" Open: {'; '.join(unsure)}." if unsure else ""
        by = "; ".join(rejecting)
        return f"{name} is not only sharper. Rejected by {by}.{as_one}{not_known}"
    if unsure:
        reasons = "; ".join(unsure)
        return f"{name}: only sharper is neither shown nor rejected. Open: {reasons}."
    tau = fmean(m.per_context.median for m in _matchings(study, arm))
    if abs(tau - 1) <= LARGEST_SPREAD:
        return f"{name} is not changed: it is the original at temperature {number(tau, 2)}."
    return (
        f"{name} is only {'sharper' if tau < 1 else 'flatter'}: the original at temperature "
        f"{number(tau, 2)}. Greedy text, sampled text and the order of the tokens are as that "
        "temperature leaves them, and it is one for all contexts and steps."
    )


def evidence_table(study: Study) -> Table:
    """Every comparison of every tuned arm."""
    header = [(name, "") for name in ("arm", "what", "if it were a temperature", "found", "says")]
    rows = [
        [Cell(study.label(arm)), *(Cell(part) for part in each)]
        for arm in study.tuned
        if _matchings(study, arm)
        for each in evidence(study, arm)
    ]
    return Table("only_sharper", header, rows)
