"""The interval of the static share, against all logits kept and drawn one by one."""

import numpy as np
import pytest
import torch

from hyperfitting.measure.static_share import ContextSums
from hyperfitting.measure.static_shift import ShiftStatistics

N, K, V = 7, 5, 11


@pytest.fixture(scope="module")
def logits():
    rng = torch.Generator().manual_seed(0)
    original = torch.randn(N, K, V, generator=rng)
    shift = torch.randn(V, generator=rng)
    return original, original + shift + 0.7 * torch.randn(N, K, V, generator=rng)


def sums_of(logits, **options):
    statistics, sums = ShiftStatistics(V), ContextSums(N, V, **options)
    for n, (one, two) in enumerate(zip(*logits, strict=True)):
        sums.add(n, statistics.add(one, two))
    return statistics.result().static_share, sums


def share_by_hand(logits, contexts):
    """Every position of every drawn context at once, by the definition."""
    change = (logits[1] - logits[0])[contexts].double()
    change = (change - change.mean(dim=-1, keepdim=True)).reshape(-1, V)
    spread = (change - change.mean(dim=0)).square().sum()
    return float(1 - spread / change.square().sum())


def test_a_draw_is_the_share_of_its_contexts(logits):
    share, sums = sums_of(logits)
    assert sums.shares(np.ones((1, N)))[0] == pytest.approx(share, rel=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(20):
        contexts = rng.integers(N, size=N)
        times = np.bincount(contexts, minlength=N).astype(float)
        expected = share_by_hand(logits, contexts)
        assert sums.shares(times[None])[0] == pytest.approx(expected, rel=1e-5)


def test_the_interval_holds_the_share_and_has_the_spread_of_plain_draws(logits):
    share, sums = sums_of(logits)
    low, high = sums.interval(share, resamples=2_000, confidence=0.9, seed=0)
    assert 0 <= low < share < high <= 1
    rng = np.random.default_rng(1)
    draws = [share_by_hand(logits, rng.integers(N, size=N)) for _ in range(2_000)]
    ends = np.quantile(draws, [0.05, 0.95])
    assert high - low == pytest.approx(ends[1] - ends[0], rel=0.1)


def test_memory_stays_below_its_bound_and_groups_are_whole_contexts(logits):
    share, sums = sums_of(logits, most_values=3 * V)
    assert sums.sum_GV.numel() == 3 * V
    assert sums.group_N.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert sums.shares(np.ones((1, 3)))[0] == pytest.approx(share, rel=1e-6)
    first = share_by_hand(logits, [0, 1, 2])
    assert sums.shares(np.array([[2.0, 0, 0]]))[0] == pytest.approx(first, rel=1e-5)
    low, high = sums.interval(share, resamples=500, confidence=0.9, seed=0)
    assert low < share < high


def test_a_constant_shift_has_the_share_one_and_no_width(logits):
    original = logits[0]
    share, sums = sums_of((original, original + torch.arange(V)))
    low, high = sums.interval(share, resamples=200, confidence=0.95, seed=0)
    assert (low, high) == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert high <= 1


def test_no_interval_of_one_context_nor_without_a_share(logits):
    _, sums = sums_of(logits)
    assert sums.interval(None, resamples=9, confidence=0.9, seed=0) == (None, None)
    one = ContextSums(1, V)
    one.add(0, ShiftStatistics(V).add(logits[0][0], logits[1][0]))
    assert one.interval(0.5, resamples=9, confidence=0.9, seed=0) == (None, None)
    nothing = ContextSums(2, V)
    assert np.isnan(nothing.shares(np.ones((1, 2)))).all()
    with pytest.raises(ValueError, match="at least 1"):
        ContextSums(0, V)
