"""Rank correlation against scipy, a naive definition of the best tokens, and itself."""

import tracemalloc

import numpy as np
import pytest
import scipy.stats
import torch

from hyperfitting.measure import spearman as module
from hyperfitting.measure import spearman_cpu
from hyperfitting.measure.spearman import (
    correlations,
    spearman_by_argsort,
    spearman_top_by_pairs,
)

EXACT = {"rtol": 0, "atol": 1e-10}


pytestmark = pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")


def spearman(a_PV, b_PV):
    return correlations(a_PV, b_PV, count=1).spearman


def spearman_top(a_PV, b_PV, count=100):
    return correlations(a_PV, b_PV, count=count).spearman_top


def scipys(a_PV, b_PV):
    return [scipy.stats.spearmanr(a, b).statistic for a, b in zip(a_PV, b_PV, strict=True)]


def best_union(a, b, count):
    """Tokens by falling logit, equal ones by rising id: Python's sort keeps the order of equals."""
    best = [sorted(range(len(x)), key=lambda token: -x[token])[:count] for x in (a, b)]
    return sorted(set(best[0]) | set(best[1]))


def logits(kind, rows=6, size=500, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(rows, size)) * 3
    b = a + rng.normal(size=(rows, size))
    if kind == "few values":
        a, b = a.round(), (b / 4).round()
    elif kind == "masked":
        a[:, 3], b[:, 5], b[:, -90:] = np.inf, -np.inf, -np.inf
    elif kind == "signed zeros":
        a[:, ::3], a[:, 1::3], b[:, ::2] = 0.0, -0.0, -0.0
    elif kind == "tiny":
        a, b = a * 1e-44, b * 1e-38
    elif kind == "coarse":
        return [torch.from_numpy(x).bfloat16() for x in (a, b)]
    return [torch.from_numpy(x.astype(np.float32)) for x in (a, b)]


KINDS = ["smooth", "few values", "masked", "signed zeros", "tiny", "coarse"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [2, 7, 500, 4001])
def test_whole_vocabulary_agrees_with_scipy(kind, seed, size):
    a, b = logits(kind, size=max(size, 200), seed=seed)
    a, b = a[:, :size], b[:, :size]
    with np.errstate(all="ignore"):
        expected = np.array(scipys(a.float().numpy(), b.float().numpy()))
    for found in (spearman(a, b), spearman_by_argsort(a, b)):
        np.testing.assert_allclose(found, expected, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, 10, 100, 400])
def test_best_tokens_agree_with_scipy_on_their_union(kind, count):
    a, b = logits(kind, seed=count)
    rows = [(x.float().numpy(), y.float().numpy()) for x, y in zip(a, b, strict=True)]
    unions = [best_union(x, y, count) for x, y in rows]
    expected = [
        scipy.stats.spearmanr(x[u], y[u]).statistic for (x, y), u in zip(rows, unions, strict=True)
    ]
    if kind == "smooth":
        assert len({len(union) for union in unions}) > 1 or count in (2, 400)
    for found in (spearman_top(a, b, count), spearman_top_by_pairs(a, b, count)):
        np.testing.assert_allclose(found, expected, **EXACT)


def test_a_real_vocabulary_is_exact_in_both_ways():
    a, b = logits("smooth", rows=1, size=260_000)
    np.testing.assert_allclose(spearman(a, b), scipys(a.numpy(), b.numpy()), **EXACT)
    a, b = logits("coarse", rows=1, size=130_000)
    expected = scipys(a.float().numpy(), b.float().numpy())
    np.testing.assert_allclose(spearman(a, b), expected, **EXACT)
    np.testing.assert_allclose(spearman_by_argsort(a, b), expected, **EXACT)


def test_a_model_with_itself_and_with_its_reverse():
    a, _ = logits("smooth")
    np.testing.assert_allclose(correlations(a, a), 1.0, rtol=0, atol=1e-14)
    np.testing.assert_allclose(spearman(a, -a), -1.0, rtol=0, atol=1e-14)
    np.testing.assert_allclose(spearman_top(a, 0.59 * a), 1.0, rtol=0, atol=1e-14)


def test_an_increasing_map_changes_nothing_and_the_sides_can_be_swapped():
    a, b = logits("smooth", seed=4)
    np.testing.assert_array_equal(spearman(a * 4, b), spearman(a, b))
    np.testing.assert_allclose(spearman(b, a), spearman(a, b), **EXACT)
    order = torch.randperm(a.shape[1], generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(spearman(a[:, order], b[:, order]), spearman(a, b), **EXACT)


def test_the_best_tokens_can_disagree_where_the_vocabulary_agrees():
    a = torch.arange(5_000.0)[None]
    b = a.clone()
    b[:, -50:] = b[:, -50:].flip(1)
    assert spearman(a, b)[0] > 0.9999
    # The last 50 ranks reversed: sum of squared differences is 2 (1^2 + 3^2 + ... + 49^2).
    squares = 2 * sum(d * d for d in range(1, 50, 2))
    assert spearman_top(a, b, 50)[0] == pytest.approx(-1.0, abs=1e-12)
    assert spearman_top(a, b, 100)[0] == pytest.approx(1 - 6 * squares / (100 * (100**2 - 1)))


@pytest.mark.parametrize("function", [spearman, spearman_by_argsort])
def test_constant_rows_and_nan_are_undefined_and_spoil_no_other_row(function):
    a, b = logits("smooth", rows=5)
    good = function(a, b)
    a[1], b[2] = 1.5, 0.0
    a[3, 7] = torch.nan
    found = function(a, b)
    assert np.isnan(found[1:4]).all()
    np.testing.assert_allclose(found[[0, 4]], good[[0, 4]], **EXACT)


def test_the_top_of_constant_rows_and_of_nan_is_undefined():
    a, b = logits("smooth", rows=3)
    a[0], b[1, 4] = 1.0, torch.nan
    for found in (spearman_top(a, b, 20), spearman_top_by_pairs(a, b, 20)):
        assert np.isnan(found).tolist() == [True, True, False]


def test_a_row_of_nan_does_not_hide_the_ties_of_another():
    a, b = logits("few values", rows=2)
    a[0] = torch.nan
    found = spearman_top(a, b, 20)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1], spearman_top_by_pairs(a, b, 20)[1], **EXACT)


def test_the_result_does_not_depend_on_threads_or_chunks(monkeypatch):
    a, b = logits("few values", rows=9)
    b[2, 7] = torch.nan
    expected = correlations(a, b), spearman_by_argsort(a, b), spearman_top_by_pairs(a, b)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    for size in (1, 1_000):  # one row and two rows of 500 at a time
        for constant in ("SORTED", "SEARCHED"):
            monkeypatch.setattr(spearman_cpu, constant, size)
        monkeypatch.setattr(module, "CHUNK", size)
        found = correlations(a, b), spearman_by_argsort(a, b), spearman_top_by_pairs(a, b)
        for new, old in zip(found, expected, strict=True):
            np.testing.assert_allclose(new, old, rtol=0, atol=1e-15)


def test_temporary_memory_does_not_grow_with_positions(monkeypatch):
    def peak(rows, threads):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        a, b = logits("smooth", rows=rows, size=20_000)
        tracemalloc.start()
        correlations(a, b)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # One thread: how far two overlap is the machine's affair.
    assert peak(256, threads=1) < 1.2 * peak(64, threads=1)
    assert peak(256, threads=2) < 16_000_000  # 2^17 logits x 61 bytes each, whatever the vocabulary


def test_no_positions_give_no_numbers():
    empty = torch.empty(0, 10)
    for function in (spearman, spearman_top_by_pairs, spearman_by_argsort):
        args = (5,) if function is spearman_top_by_pairs else ()
        assert function(empty, empty, *args).shape == (0,)


def test_what_cannot_be_correlated_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 5\) and \(2, 6\)"):
        spearman(torch.zeros(2, 5), torch.zeros(2, 6))
    with pytest.raises(ValueError, match="got 1"):
        spearman(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="1..5"):
        spearman_top(torch.zeros(2, 5), torch.zeros(2, 5))
