"""From verdicts to rates, intervals and tests (definitions, section 8.8). Pure.

A verdict here is +1 where arm `a` is better, -1 where arm `b` is, 0 for a tie.
"""

from collections.abc import Sequence

from scipy import stats

from hyperfitting.measure.intervals import clopper_pearson
from hyperfitting.records.judged import Outcome, PositionBias, Rate


def sign(value: float) -> int:
    """+1, 0 or -1."""
    return (value > 0) - (value < 0)


def pair_verdict(orders: Sequence[int]) -> int:
    """Verdict of a pair from the verdicts of its orders, each +1, 0 or -1 for arm `a`.

    Of two orders: an arm wins where it wins both, or wins one and ties the other; otherwise it
    is a tie (definitions, section 8.8). That is the sign of the sum; so is a single order.

    Raises:
        ValueError: not one or two orders, or a verdict that is none of +1, 0, -1.
    """
    if len(orders) not in (1, 2) or not set(orders) <= {-1, 0, 1}:
        raise ValueError(f"pair_verdict needs one or two verdicts of +1, 0, -1, got {orders}")
    return sign(sum(orders))


def rate(count: int, n: int, *, confidence: float = 0.95) -> Rate:
    """`count` of `n` in percent with its exact interval (`clopper_pearson`); None of n = 0.

    Raises:
        ValueError: `count` outside [0, n], or `confidence` outside (0, 1).
    """
    if n == 0 and count == 0:
        return Rate(percent=None, low=None, high=None)
    low, high = clopper_pearson(count, n, confidence=confidence)
    return Rate(percent=100 * count / n, low=100 * low, high=100 * high)


def sign_test(wins: int, losses: int) -> float | None:
    """Two-sided exact p of `wins` against `losses` at even odds, in (0, 1]; None without any.

    Raises:
        ValueError: a negative count.
    """
    if min(wins, losses) < 0:
        raise ValueError(f"sign_test needs counts, got {wins} and {losses}")
    if wins + losses == 0:
        return None
    return float(stats.binomtest(wins, wins + losses).pvalue)


def outcome(verdicts: Sequence[int], *, confidence: float = 0.95) -> Outcome:
    """Count, rates with intervals and test of the verdicts of pairs.

    Raises:
        ValueError: a verdict that is none of +1, 0, -1.
    """
    if not set(verdicts) <= {-1, 0, 1}:
        raise ValueError(f"outcome needs verdicts of +1, 0, -1, got {sorted(set(verdicts))}")
    n, wins, losses = len(verdicts), verdicts.count(1), verdicts.count(-1)
    p = sign_test(wins, losses)
    return Outcome(
        n=n,
        wins=wins,
        losses=losses,
        ties=n - wins - losses,
        win_rate=rate(wins, n, confidence=confidence),
        loss_rate=rate(losses, n, confidence=confidence),
        tie_rate=rate(n - wins - losses, n, confidence=confidence),
        p=p,
        reason="no valid pair" if n == 0 else "every pair is a tie" if p is None else None,
    )


def position_bias(orders: Sequence[tuple[int, int]], *, confidence: float = 0.95) -> PositionBias:
    """Position bias from the two verdicts of every pair: `a` shown first, then `b` shown first.

    Each verdict is +1, 0 or -1 for arm `a`.

    Raises:
        ValueError: a verdict that is none of +1, 0, -1.
    """
    if not {verdict for pair in orders for verdict in pair} <= {-1, 0, 1}:
        raise ValueError("position_bias needs verdicts of +1, 0, -1")
    flips = sum(first != second for first, second in orders)
    # Shown second, a win of `a` is a loss of the first place.
    places = [sign(first - second) for first, second in orders]
    favour_first, favour_second = places.count(1), places.count(-1)
    p = sign_test(favour_first, favour_second)
    reason = "no valid pair" if not orders else "no pair favours a place" if p is None else None
    return PositionBias(
        n=len(orders),
        flips=flips,
        reversals=sum(first * second == -1 for first, second in orders),
        flip_rate=rate(flips, len(orders), confidence=confidence),
        favour_first=favour_first,
        favour_second=favour_second,
        p=p,
        reason=reason,
    )
