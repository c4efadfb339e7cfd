"""The static shift against two-pass formulas, scipy ranks and planted changes."""

import numpy as np
import pytest
import scipy.stats
import torch

from hyperfitting.measure import static_shift as static_bias
from hyperfitting.measure.static_shift import (
    ShiftStatistics,
    StaticShift,
    fraction_explained_in_words,
    injection,
    ordinal_ranks,
    promoted,
    random_injection,
)


def logits(seed, positions=23, vocabulary=17):
    return 3 * torch.randn(positions, vocabulary, generator=torch.Generator().manual_seed(seed))


def statistics(original, tuned, **settings):
    found = ShiftStatistics(original.shape[1], **settings)
    found.add(original, tuned)
    return found


def ranks_by_scipy(x):
    return np.stack([scipy.stats.rankdata(-row, method="ordinal") for row in x.numpy()])


@pytest.mark.parametrize("seed", range(4))
def test_result_agrees_with_the_formulas_in_two_passes(seed):
    x, y = logits(seed), logits(seed) + logits(seed + 9)
    found = statistics(x, y).result()
    a, b = x.double().numpy(), y.double().numpy()
    change = (b - b.mean(axis=1, keepdims=True)) - (a - a.mean(axis=1, keepdims=True))
    mean = change.mean(axis=0)
    share = 1 - ((change - mean) ** 2).sum() / (change**2).sum()
    np.testing.assert_allclose(found.shift_V, mean, atol=1e-12)
    assert found.static_share == pytest.approx(share, rel=1e-10)
    gain = (ranks_by_scipy(x) - ranks_by_scipy(y)).mean(axis=0)
    np.testing.assert_allclose(found.improvement_V, gain, atol=1e-12)
    assert (found.positions, found.rank_positions) == (23, 23)


@pytest.mark.parametrize("seed", range(3))
def test_ordinal_ranks_agree_with_scipy_also_with_ties(seed):
    x = logits(seed).round()
    assert ordinal_ranks(x).tolist() == ranks_by_scipy(x).tolist()
    assert ordinal_ranks(torch.tensor([[1.0, 2.0, 2.0, 0.0]])).tolist() == [[3, 1, 2, 4]]


def test_a_model_against_itself_has_no_share():
    found = statistics(logits(0), logits(0)).result()
    assert found.static_share is None
    assert not found.shift_V.any()
    assert not found.improvement_V.any()


def test_a_planted_shift_of_one_token():
    x = logits(1)
    tuned = x.clone()
    tuned[:, 5] += 4
    found = statistics(x, tuned).result()
    assert found.static_share == pytest.approx(1, abs=1e-10)
    assert promoted(found, count=1).tolist() == [5]
    expected = np.full(17, -4 / 17)
    expected[5] += 4
    np.testing.assert_allclose(found.shift_V, expected, atol=1e-6)


def test_changes_unrelated_between_positions_give_one_over_n():
    random = torch.Generator().manual_seed(0)
    x = logits(0, positions=200, vocabulary=400)
    noise = [torch.randn(200, 400, generator=random) for _ in range(10)]
    shares = [statistics(x, x + change).result().static_share for change in noise]
    assert np.mean(shares) == pytest.approx(1 / 200, rel=0.1)
    assert max(shares) < 0.01


def test_a_planted_mixture_is_separated():
    x = logits(0, positions=300, vocabulary=400)
    constant = logits(2, positions=1, vocabulary=400)
    found = statistics(x, x + constant + logits(1, positions=300, vocabulary=400)).result()
    assert found.static_share == pytest.approx(0.5, abs=0.05)


def test_a_constant_per_position_is_no_change():
    x = logits(0)
    moved = statistics(x.double(), x.double() + torch.arange(23.0, dtype=torch.float64)[:, None])
    np.testing.assert_allclose(moved.result().shift_V, 0, atol=1e-12)
    tuned = logits(3)
    plain, offset = statistics(x, tuned).result(), statistics(x - 7, tuned + 2).result()
    np.testing.assert_allclose(offset.shift_V, plain.shift_V, atol=1e-6)
    assert offset.static_share == pytest.approx(plain.static_share, rel=1e-5)


@pytest.mark.parametrize("block", [1, 17 * 4, 2**22])
def test_parts_and_blocks_give_the_same_as_the_whole(monkeypatch, block):
    x, y = logits(0), logits(1)
    whole = statistics(x, y).result()
    monkeypatch.setattr(static_bias, "BLOCK_VALUES", block)
    parts = statistics(x[:9], y[:9]) + statistics(x[9:], y[9:])
    for found in (statistics(x, y).result(), parts.result()):
        np.testing.assert_allclose(found.shift_V, whole.shift_V, rtol=1e-12)
        assert found.improvement_V.tolist() == whole.improvement_V.tolist()
        assert found.static_share == pytest.approx(whole.static_share, rel=1e-12)
        assert found[2:4] == whole[2:4]


@pytest.mark.parametrize("step", [2, 5, 40])
def test_ranks_at_every_mth_position_over_several_calls(monkeypatch, step):
    monkeypatch.setattr(static_bias, "BLOCK_VALUES", 17 * 3)
    x, y = logits(0), logits(1)
    found = ShiftStatistics(17, rank_every=step)
    for part in (slice(0, 4), slice(4, 5), slice(5, 23)):
        found.add(x[part], y[part])
    chosen = statistics(x[::step], y[::step]).result()
    result = found.result()
    assert result.improvement_V.tolist() == chosen.improvement_V.tolist()
    assert (result.positions, result.rank_positions) == (23, chosen.positions)
    np.testing.assert_allclose(result.shift_V, statistics(x, y).result().shift_V, rtol=1e-12)


def test_promoted_prefers_smaller_ids_and_leaves_special_tokens_out():
    gain = torch.tensor([1.0, 7.0, 3.0, 7.0, 3.0, -2.0], dtype=torch.float64)
    result = StaticShift(gain, gain, 1, 1, None)
    assert promoted(result, count=4).tolist() == [1, 3, 2, 4]
    assert promoted(result, count=3, excluded_ids={1, 2}).tolist() == [3, 4, 0]
    assert promoted(result, count=500, excluded_ids=[0]).tolist() == [1, 3, 2, 4, 5]
    with pytest.raises(ValueError, match="got 0"):
        promoted(result, count=0)


def test_injection_is_zero_elsewhere():
    shift = torch.arange(1.0, 7.0)
    ids = torch.tensor([4, 1])
    assert injection(shift, ids).tolist() == [0, 2, 0, 0, 5, 0]
    assert shift.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", range(5))
def test_random_injection_moves_the_same_values_to_other_tokens(seed):
    delta = injection(logits(0, 1, 30)[0], torch.arange(3, 9))
    moved = random_injection(delta, torch.arange(3, 9), range(2, 25), seed=seed)
    places = set(moved.nonzero().flatten().tolist())
    assert sorted(moved[moved != 0].tolist()) == sorted(delta[3:9].tolist())
    assert places <= {2, *range(9, 25)}
    again = random_injection(delta, torch.arange(3, 9), range(2, 25), seed=seed)
    assert torch.equal(moved, again)
    other = random_injection(delta, torch.arange(3, 9), range(2, 25), seed=seed + 1)
    assert not torch.equal(moved, other)


def test_random_injection_reaches_every_candidate_equally_often():
    delta, ids = torch.eye(6)[0], torch.tensor([0])
    places = [int(random_injection(delta, ids, range(6), seed=s).argmax()) for s in range(500)]
    assert scipy.stats.chisquare(np.bincount(places, minlength=6)[1:]).pvalue > 1e-3
    assert 0 not in places


def test_bad_input_is_refused():
    found = ShiftStatistics(17)
    with pytest.raises(ValueError, match="at least one position"):
        found.result()
    with pytest.raises(ValueError, match=r"\(23, 17\) and \(22, 17\)"):
        found.add(logits(0), logits(0)[1:])
    with pytest.raises(ValueError, match=r"\[P, 17\]"):
        found.add(logits(0)[:, 1:], logits(0)[:, 1:])
    with pytest.raises(ValueError, match="finite"):
        found.add(logits(0), logits(0) / 0)
    assert found.positions == 0
    with pytest.raises(ValueError, match="one vocabulary"):
        found + ShiftStatistics(18)
    with pytest.raises(ValueError, match="0 and 1"):
        ShiftStatistics(0)
    with pytest.raises(ValueError, match="3 other tokens needed, got 1"):
        random_injection(torch.ones(4), torch.arange(3), range(4), seed=0)


def test_the_share_in_words():
    assert "explains 12 % of" in fraction_explained_in_words(0.1234)
    assert "static share 0.123" in fraction_explained_in_words(0.1234)
    assert "less than 1 %" in fraction_explained_in_words(0.002)
    assert "more than 99 %" in fraction_explained_in_words(0.9999)
    assert "explains 100 %" in fraction_explained_in_words(1.0)
    assert "No logit changed" in fraction_explained_in_words(None)
