"""From stored answers to one comparison: rates, intervals, tests, and what was left out.

Knows no transport. All rates are of arm `a`; the labels A and B of an answer are those that the
judge saw, so the second order is turned round here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperfitting.judge.job import ORDERS
from hyperfitting.judge.pairs import Pair
from hyperfitting.judge.score import outcome, pair_verdict, position_bias, sign
from hyperfitting.judge.store import Answer
from hyperfitting.records.judged import FlipRate, LeftOut, Order, Outcome, PositionBias, Unusable

CRITERIA = ("coherence", "diversity")
SIGN = {"A": 1, "B": -1, "tie": 0}
SINGLE_ORDER = "every pair was asked in one order"


@dataclass(frozen=True)
class Comparison:
    """What the judge said of two arms. Outcomes are of the valid pairs."""

    outcomes: Mapping[str, Outcome]  # winner, coherence, diversity
    bias: PositionBias | None  # None where there is one order
    left_out: Sequence[LeftOut]


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


def _missing(pair: Pair, order: Order, answer: Answer | None) -> LeftOut | None:
    """Why there is no verdict on a pair in one order; None where there is one."""
    if pair.has_empty_text:
        reason = "empty continuation"
    elif answer is None:
        reason = "not asked"
    elif answer.verdict is None:
        reason = f"{answer.status}: {answer.reason}"
    else:
        return None
    return LeftOut(context_index=pair.context_index, order=order, reason=reason)


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
    left_out: list[LeftOut] = []
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


def flip_rate(bias: PositionBias | None) -> FlipRate:
    """The share of pairs whose verdict changed with the order; undefined where there is one."""
    if bias is None:
        return FlipRate(percent=None, low=None, high=None, reason=SINGLE_ORDER)
    reason = None if bias.n else "no valid pair"
    return FlipRate(**dict(bias.flip_rate), reason=reason)


def unusable(left_out: Sequence[LeftOut]) -> Unusable:
    """What was left out, and how often for which reason, the most frequent first."""
    return Unusable(
        pairs=len({each.context_index for each in left_out}),
        orders=len(left_out),
        reasons=dict(Counter(each.reason for each in left_out).most_common()),
        each=list(left_out),
    )
