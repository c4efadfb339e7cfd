"""From stored answers to one comparison: rates, intervals, tests, and what was left out.

Knows no transport. All rates are of arm `a`; the labels A and B of an answer are those that the
judge saw, so the second order is turned round here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hyperfitting.judge.job import ORDERS
from hyperfitting.judge.pairs import Order, Pair
from hyperfitting.judge.score import (
    Outcome,
    PositionBias,
    outcome,
    pair_verdict,
    position_bias,
    sign,
)
from hyperfitting.judge.store import Answer

CRITERIA = ("coherence", "diversity")
SIGN = {"A": 1, "B": -1, "tie": 0}
SINGLE_ORDER = "every pair was asked in one order"


@dataclass(frozen=True)
class Comparison:
    """What the judge said of two arms. Outcomes are of the valid pairs."""

    outcomes: Mapping[str, Outcome]  # winner, coherence, diversity
    bias: PositionBias | None  # None where there is one order
    left_out: Sequence[Mapping[str, Any]]  # context_index, order, reason


def winner_for_a(answer: Answer) -> int:
    """+1 where arm `a` won, -1 where `b` did, 0 for a tie.

    Raises:
        ValueError: an answer without a verdict.
    """
    if answer.verdict is None:
        raise ValueError("an answer without a verdict has no winner")
    won = SIGN[answer.verdict["winner"]]
    return won if answer.order == "ab" else -won


def score_difference(answer: Answer, criterion: str) -> int:
    """Score of arm `a` minus that of `b`, in [-9, 9].

    Raises:
        ValueError: an answer without a verdict.
    """
    if answer.verdict is None:
        raise ValueError("an answer without a verdict has no scores")
    difference = int(answer.verdict[f"{criterion}_a"]) - int(answer.verdict[f"{criterion}_b"])
    return difference if answer.order == "ab" else -difference


def _missing(pair: Pair, order: Order, answer: Answer | None) -> dict[str, Any] | None:
    """Why there is no verdict on a pair in one order; None where there is one."""
    if pair.has_empty_text:
        reason = "empty continuation"
    elif answer is None:
        reason = "not asked"
    elif answer.verdict is None:
        reason = f"{answer.status}: {answer.reason}"
    else:
        return None
    return {"context_index": pair.context_index, "order": order, "reason": reason}


def compare(
    pairs: Sequence[Pair],
    answers: Mapping[tuple[int, Order], Answer],
    *,
    orders: str,
    confidence: float,
) -> Comparison:
    """Outcomes over the pairs with a verdict in every order that is asked.

    Args:
        pairs: the chosen pairs.
        answers: by context and order.
        orders: `both` or `single`.
        confidence: of the intervals, in (0, 1).

    Raises:
        KeyError: `orders` is neither.
    """
    wanted = ORDERS[orders]
    valid: list[list[Answer]] = []
    left_out: list[dict[str, Any]] = []
    for pair in pairs:
        found = [answers.get((pair.context_index, order)) for order in wanted]
        missing = [_missing(pair, o, answer) for o, answer in zip(wanted, found, strict=True)]
        left_out += [reason for reason in missing if reason]
        if not any(missing):
            valid.append([answer for answer in found if answer])
    verdicts = {
        "winner": [pair_verdict([winner_for_a(answer) for answer in pair]) for pair in valid]
    } | {
        name: [sign(sum(score_difference(answer, name) for answer in pair)) for pair in valid]
        for name in CRITERIA
    }
    bias = None
    if orders == "both":
        changes = [(winner_for_a(first), winner_for_a(second)) for first, second in valid]
        bias = position_bias(changes, confidence=confidence)
    outcomes = {name: outcome(v, confidence=confidence) for name, v in verdicts.items()}
    return Comparison(outcomes, bias, left_out)


def _outcome_row(found: Outcome) -> dict[str, Any]:
    rates = {name: getattr(found, name)._asdict() for name in ("win_rate", "loss_rate", "tie_rate")}
    return {**found._asdict(), **rates}


def as_rows(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON holds it; what is undefined is null and has its reason."""
    reasons = Counter(str(row["reason"]) for row in found.left_out)
    without = len({row["context_index"] for row in found.left_out})
    bias = None
    flip: dict[str, Any] = {"percent": None, "low": None, "high": None, "reason": SINGLE_ORDER}
    if found.bias:
        flip = {
            **found.bias.flip_rate._asdict(),
            "reason": None if found.bias.n else "no valid pair",
        }
        bias = {**found.bias._asdict(), "flip_rate": found.bias.flip_rate._asdict()}
    return {
        "n": found.outcomes["winner"].n,
        **{name: _outcome_row(each) for name, each in found.outcomes.items()},
        "position_flip_rate": flip,
        "position_bias": bias,
        "unusable": {
            "pairs": without,
            "orders": len(found.left_out),
            "reasons": dict(reasons.most_common()),
            "list": [dict(row) for row in found.left_out],
        },
    }
