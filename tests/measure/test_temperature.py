"""Entropy and its slopes against scipy and differences; planted temperatures; all logits."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import torch

from hyperfitting.measure import entropy
from hyperfitting.measure import temperature as module
from hyperfitting.measure.temperature import (
    EntropyCurve,
    entropy_at,
    match_temperature,
    match_temperature_per_position,
)

TAUS = [0.05, 0.3, 0.59, 1.0, 2.5, 20.0]


def logits(seed, rows=20, size=400):
    """Positions of different sharpness, each with one outstanding token."""
    generator = torch.Generator().manual_seed(seed)
    scale = 0.5 + 4 * torch.rand(rows, 1, generator=generator)
    z = scale * torch.randn(rows, size, generator=generator)
    z[:, 0] = z.amax(dim=1) + 4 * torch.rand(rows, generator=generator)
    return z


def exact_entropy(z, tau):
    """float64, by scipy, position by position, [P]."""
    p = scipy.special.softmax(z.double().numpy() / np.reshape(tau, (-1, 1)), axis=1)
    return scipy.stats.entropy(p, axis=1)


def exact_tau(z, target):
    return scipy.optimize.brentq(
        lambda tau: exact_entropy(z, tau).mean() - target, 0.05, 20, xtol=1e-13
    )


@pytest.mark.parametrize("tau", TAUS)
def test_entropy_agrees_with_scipy(tau):
    z = logits(0)
    np.testing.assert_allclose(entropy_at(z, tau), exact_entropy(z, tau), rtol=0, atol=2e-6)


def test_entropy_of_a_real_vocabulary_keeps_four_digits():
    z = logits(1, rows=3, size=128_000)
    for tau in TAUS:
        np.testing.assert_allclose(entropy_at(z, tau), exact_entropy(z, tau), rtol=0, atol=1e-5)


def test_masked_tokens_have_no_weight_at_any_temperature():
    z = logits(2)
    masked = torch.cat([z, torch.full((20, 500), -torch.inf)], dim=1)
    for tau in (*TAUS, 1e6):
        torch.testing.assert_close(entropy_at(masked, tau), entropy_at(z, tau), rtol=0, atol=1e-6)


def test_limits_of_the_entropy():
    z = logits(3)
    assert entropy_at(torch.full((1, 8), 3.0), 0.4).item() == pytest.approx(np.log(8))
    assert entropy_at(z, 1e-3).max() < 1e-6
    assert entropy_at(z, 1e6).min() == pytest.approx(np.log(400), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_entropy_rises_with_temperature(seed):
    z = logits(seed, rows=4)
    entropies = torch.stack([entropy_at(z, tau) for tau in np.geomspace(0.05, 20, 60)])
    assert (entropies.diff(dim=0) > -2e-6).all()


@pytest.mark.parametrize("tau", [0.2, 0.59, 1.0, 4.0])
def test_slopes_agree_with_differences(tau):
    z, step = logits(4), 1e-3
    found = module._moments(z, torch.full((20,), tau), order=2).numpy()
    left, here, right = (exact_entropy(z, tau * np.exp(s)) for s in (-step, 0, step))
    np.testing.assert_allclose(found[1], (right - left) / (2 * step), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found[2], (right - 2 * here + left) / step**2, rtol=0, atol=1e-3)
    # dH/dtau = Var(z) / tau^3, with the variance under softmax(z / tau)
    p = scipy.special.softmax(z.double().numpy() / tau, axis=1)
    variance = (p * z.double().numpy() ** 2).sum(1) - (p * z.double().numpy()).sum(1) ** 2
    np.testing.assert_allclose(found[1] / tau, variance / tau**3, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tau", [0.1, 0.59, 1.0, 1.7, 15.0])
def test_a_planted_temperature_is_found(seed, tau):
    z = logits(seed)
    match = match_temperature(z, exact_entropy(z, tau).mean(), tolerance=1e-6)
    assert match.is_solved
    assert match.tau == pytest.approx(tau, rel=1e-3)  # 1e-6 nats over the smallest slope
    assert abs(exact_entropy(z, match.tau).mean() - exact_entropy(z, tau).mean()) < 3e-6


def test_a_model_matches_its_own_entropy_at_exactly_1():
    z = logits(5)
    match = match_temperature(z, float(entropy_at(z, 1.0).mean()))
    assert match == (1.0, 0.0, True)


@pytest.mark.parametrize("seed", range(4))
def test_one_temperature_agrees_with_brent_on_exact_entropies(seed):
    z = logits(seed, rows=7)
    for target in np.random.default_rng(seed).uniform(0.3, 5.8, 5):
        match = match_temperature(z, target)
        assert match.is_solved
        assert match.tau == pytest.approx(exact_tau(z, target), abs=1e-3)
        assert abs(exact_entropy(z, match.tau).mean() - target) < 1.05e-4
        assert match.residual == pytest.approx(
            exact_entropy(z, match.tau).mean() - target, abs=3e-6
        )


def test_few_passes_are_enough(monkeypatch):
    passes = []
    original = module._moments
    monkeypatch.setattr(module, "_moments", lambda *a, **k: passes.append(1) or original(*a, **k))
    for share in (0.3, 0.6, 0.9, 1.2):
        passes.clear()
        assert match_temperature(logits(6), share * float(entropy_at(logits(6), 1.0).mean()))
        assert len(passes) <= 8


@pytest.mark.parametrize("start", [0.06, 0.4, 3.0, 50.0])
def test_an_answer_does_not_depend_on_where_it_is_sought_first(start):
    z, target_P = logits(7), exact_entropy(logits(7), 0.6)
    found = match_temperature(z, target_P.mean(), tolerance=1e-6, start=start)
    assert found.tau == pytest.approx(0.6, abs=1e-4)
    steps = match_temperature_per_position(z, target_P, tolerance=1e-6, start=start)
    np.testing.assert_allclose(steps.tau, 0.6, atol=1e-3)
    assert steps.is_solved.all()


def test_a_target_out_of_reach_gives_the_nearer_end():
    z = logits(7)
    high = match_temperature(z, np.log(400) + 0.1)
    assert (high.tau, high.is_solved) == (pytest.approx(20), False)
    assert high.residual == pytest.approx(exact_entropy(z, 20).mean() - np.log(400) - 0.1, abs=1e-5)
    low = match_temperature(z, 1.0, low=1.0, high=3.0)
    assert (low.tau, low.is_solved) == (pytest.approx(1.0), False)
    assert low.residual == pytest.approx(exact_entropy(z, 1.0).mean() - 1.0, abs=1e-5)
    assert not match_temperature(z, -1.0).is_solved


def test_constant_logits_reach_only_their_own_entropy():
    z = torch.zeros(3, 10)
    assert match_temperature(z, np.log(10)).is_solved
    assert match_temperature(z, 1.0)[::2] == (pytest.approx(0.05), False)


def test_logits_that_are_not_numbers_have_no_temperature():
    z = logits(8, rows=3)
    z[1, 5] = torch.nan
    matches = match_temperature_per_position(z, np.full(3, 2.0))
    assert matches.is_solved.tolist() == [True, False, True]
    assert np.isnan(matches.tau).tolist() == [False, True, False]


def test_positions_are_solved_as_if_alone():
    z = logits(9, rows=30)
    target = np.random.default_rng(9).uniform(-0.5, 6.5, 30)
    matches = match_temperature_per_position(z, target)
    for position in range(30):
        alone = match_temperature(z[position : position + 1], target[position])
        assert matches.tau[position] == pytest.approx(alone.tau, rel=1e-5)
        assert matches.residual[position] == pytest.approx(alone.residual, abs=3e-6)
        assert matches.is_solved[position] == alone.is_solved
    reachable = (target > 0.01) & (target < 5.98)
    assert matches.is_solved[reachable].all()
    assert not matches.is_solved[(target < -0.01) | (target > np.log(400) + 0.01)].any()
    assert (~matches.is_solved).any()


def test_chunks_change_nothing(monkeypatch):
    z = logits(10)
    expected = match_temperature(z, 2.0), entropy_at(z, 0.7)
    monkeypatch.setattr(entropy, "CHUNK", 1)
    found = match_temperature(z, 2.0), entropy_at(z, 0.7)
    assert found[0] == pytest.approx(expected[0], abs=1e-9)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_global_temperature_agrees_with_brute_force_on_all_logits(seed):
    contexts = [logits(100 * seed + i, rows=4 + i) for i in range(6)]
    curve = EntropyCurve()
    for context in contexts:
        curve.add(context)
    for tau in (0.07, 0.33, 0.59, 1.0, 3.3, 15.0):
        target = np.mean([exact_entropy(context, tau).mean() for context in contexts])
        match = curve.solve(target)
        true = np.mean([exact_entropy(context, match.tau).mean() for context in contexts])
        assert abs(true - target) < 1e-4
        assert match.is_solved


def test_a_narrow_curve_is_cheaper_and_as_good():
    z = logits(11)
    curve = EntropyCurve(low=0.25, high=2.0)
    assert len(curve.grid_G) == 13
    assert len(EntropyCurve().grid_G) == 33
    curve.add(z)
    match = curve.solve(exact_entropy(z, 0.59).mean())
    assert match.tau == pytest.approx(0.59, abs=1e-4)
    assert curve.solve(exact_entropy(z, 0.2).mean())[::2] == (pytest.approx(0.25), False)


def test_a_curve_too_coarse_for_its_tolerance_says_so():
    """Two levels far apart: the entropy jumps within a small range of ln tau."""
    z = torch.zeros(1, 30_005)
    z[:, :5] = 10
    fine, coarse = EntropyCurve(spacing=0.03), EntropyCurve(spacing=0.4)
    fine.add(z)
    coarse.add(z)
    target = exact_entropy(z, 1.2).mean()
    assert fine.solve(target).is_solved
    assert fine.solve(target).tau == pytest.approx(1.2, abs=1e-4)
    assert not coarse.solve(target).is_solved
    for x in np.linspace(-1, 1, 9):
        true = exact_entropy(z, np.exp(x)).item()
        found = coarse._quintic(1)(x)
        assert abs(found - true) < 10 * coarse.interpolation_error(np.exp(x)) + 1e-5


def test_what_has_no_temperature_is_refused():
    z = logits(12, rows=2)
    for tau in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="positive and finite"):
            entropy_at(z, tau)
    with pytest.raises(ValueError, match="at least one position"):
        match_temperature(z[:0], 1.0)
    with pytest.raises(ValueError, match="finite target"):
        match_temperature(z, np.nan)
    with pytest.raises(ValueError, match="0 < low < high"):
        match_temperature(z, 1.0, low=2.0, high=1.0)
    with pytest.raises(ValueError, match="one target per position"):
        match_temperature_per_position(z, np.ones(3))
    with pytest.raises(ValueError, match="0 < low < high"):
        EntropyCurve(low=0.0)
    with pytest.raises(ValueError, match="above 0"):
        EntropyCurve(spacing=0.0)
    with pytest.raises(ValueError, match="without contexts"):
        EntropyCurve().solve(1.0)
    with pytest.raises(ValueError, match="at least one position"):
        EntropyCurve().add(z[:0])
