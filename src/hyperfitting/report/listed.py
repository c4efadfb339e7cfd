"""What a judge and tasks added, as records."""

from dataclasses import dataclass

from hyperfitting.records import Arm
from hyperfitting.report.explained import arm_in
from hyperfitting.report.fields import Fields
from hyperfitting.report.findings import Estimate


@dataclass(frozen=True)
class Judgement:
    """Two arms compared by a judge; the rates are of `a`, in percent of `n` valid pairs."""

    a: Arm
    b: Arm
    judge: str
    protocol: str
    rates: dict[str, dict[str, Estimate]]  # by question, then win_rate, loss_rate, tie_rate
    p: dict[str, float | None]
    p_reasons: dict[str, str]  # why there is no p
    flips: Estimate
    n: int
    left_out: int


@dataclass(frozen=True)
class TaskScore:
    """One arm on one task; `difference` is to the original, over the same questions."""

    arm: Arm
    task: str
    metric: str
    value: float | None
    stderr: float | None
    n: int
    reason: str
    difference: Estimate | None


QUESTIONS = ("winner", "coherence", "diversity")
RATES = ("win_rate", "loss_rate", "tie_rate")


def read_judgement(entry: Fields) -> Judgement:
    """One comparison of `judge/results.json`."""
    n = entry.whole("n")

    def rate(found: Fields) -> Estimate:
        return found.estimate("percent", n, "" if n else "no valid pair")

    questions = {name: entry.at(name) for name in QUESTIONS}
    return Judgement(
        arm_in(entry.at("a")),
        arm_in(entry.at("b")),
        entry.at("judge").text("model"),
        entry.text("protocol"),
        {name: {r: rate(found.at(r)) for r in RATES} for name, found in questions.items()},
        {name: found.maybe_number("p") for name, found in questions.items()},
        {name: found.maybe_text("reason") for name, found in questions.items()},
        rate(entry.at("position_flip_rate")),
        n,
        entry.at("unusable").whole("pairs"),
    )


def read_task_score(entry: Fields) -> TaskScore:
    """One row of `tasks.json`."""
    difference = None
    if entry.raw("difference") is not None:
        difference = entry.at("difference").estimate()
    return TaskScore(
        arm_in(entry), entry.text("task"), entry.text("metric"), entry.maybe_number("value"),
        entry.maybe_number("stderr"), entry.whole("n"), entry.maybe_text("reason"), difference,
    )  # fmt: skip
