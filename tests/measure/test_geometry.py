"""Distances and participation ratios against covariances of resampled rows."""

import numpy as np
import pytest
import torch

from hyperfitting.measure import participation
from hyperfitting.measure.geometry import layer_geometry, rms_normalise
from hyperfitting.measure.participation import participation_ratios

SETTINGS = {"resamples": 200, "confidence": 0.95, "seed": 3}


def states(seed, n=7, t=11, d=5, mean=3.0):
    """Correlated states with context means of their own, far from the origin."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, t, d, generator=random) @ torch.randn(d, d, generator=random)
    return x + torch.randn(n, 1, d, generator=random) + mean


def ratio_by_eigenvalues(rows):
    eigenvalues = np.linalg.eigvalsh(np.atleast_2d(np.cov(rows.T)))
    return eigenvalues.sum() ** 2 / (eigenvalues**2).sum()


def resampled(x, multiplicities):
    return np.repeat(x.double().numpy(), multiplicities, axis=0).reshape(-1, x.shape[-1])


def draws(seed, n, count):
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=count)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("t", "d"), [(11, 5), (3, 40), (1, 6), (20, 1)])
def test_ratios_of_draws_agree_with_eigenvalues(seed, t, d):
    x = states(seed, t=t, d=d)
    W = draws(seed, 7, 30)
    expected = [ratio_by_eigenvalues(resampled(x, w)) for w in W]
    np.testing.assert_allclose(participation_ratios(x, W), expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_both_ways_to_the_products_agree_with_a_loop(seed):
    x = states(seed, n=4, t=6, d=9)
    expected = np.array([[(a @ b.T).square().sum() for b in x.double()] for a in x.double()])
    for limit in (1, 8 * 4 * 9 * 4, 8 * 6 * 15 * 3, 2**28):
        by_width = participation._products_by_width(x, limit)
        np.testing.assert_allclose(by_width, expected, rtol=1e-12)
        by_position = participation._products_by_position(x, limit)
        np.testing.assert_allclose(by_position, expected, rtol=1e-12)


@pytest.mark.parametrize(("t", "d", "way"), [(30, 4, "width"), (2, 50, "position")])
def test_the_way_with_less_work_is_taken(monkeypatch, t, d, way):
    calls = []
    for name in ("width", "position"):
        record = lambda x, limit, name=name: calls.append(name) or np.ones((7, 7))  # noqa: E731
        monkeypatch.setattr(participation, f"_products_by_{name}", record)
    participation_ratios(states(0, t=t, d=d), np.ones((1, 7), int))
    assert calls == [way]


def test_chunks_of_draws_do_not_change_the_ratios(monkeypatch):
    x, W = states(1), draws(1, 7, 23)
    whole = participation_ratios(x, W)
    monkeypatch.setattr(participation, "DRAW_BYTES", 5 * 8 * (11 + 4 * 7))
    np.testing.assert_allclose(participation_ratios(x, W), whole, rtol=1e-12)


def test_massive_activations_and_a_far_mean_keep_the_precision():
    x = states(5, n=12, t=20, d=30)
    x[..., 4] *= 1_000
    x[..., 9] += 5_000
    W = draws(5, 12, 20)
    expected = [ratio_by_eigenvalues(resampled(x, w)) for w in W]
    np.testing.assert_allclose(participation_ratios(x, W), expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_full_sample_ratios_agree_with_eigenvalues(seed):
    x = states(seed, d=9)
    x[..., 2] *= 50
    y = states(seed + 10, d=9)
    found = layer_geometry(x, y, **SETTINGS)
    for model, ratio, trimmed in (
        (x, found.original, found.original_without_largest),
        (y, found.tuned, found.tuned_without_largest),
    ):
        rows = model.double().reshape(-1, 9).numpy()
        kept = np.argsort(rows.var(axis=0))[:-4]
        assert ratio.value == pytest.approx(ratio_by_eigenvalues(rows), rel=1e-5)
        assert trimmed == pytest.approx(ratio_by_eigenvalues(rows[:, kept]), rel=1e-5)
        assert participation_ratios(model, np.ones((1, 7), int))[0] == pytest.approx(ratio.value)
    assert found.delta_dim.value == found.tuned.value - found.original.value
    assert found.delta_dim_relative.value == found.delta_dim.value / found.original.value


def moved(values, onto):
    """Percentiles of the draws after their mean is moved onto the value."""
    defined = values[~np.isnan(values)]
    return np.quantile(defined - defined.mean() + onto, [0.025, 0.975])


def test_intervals_are_percentiles_of_the_paired_draws_around_the_value():
    x, y = states(0), states(1)
    found = layer_geometry(x, y, **SETTINGS)
    W = draws(SETTINGS["seed"], 7, SETTINGS["resamples"])
    a, b = (np.array([ratio_by_eigenvalues(resampled(model, w)) for w in W]) for model in (x, y))
    for estimate, values in (
        (found.original, a),
        (found.tuned, b),
        (found.delta_dim, b - a),
        (found.delta_dim_relative, b / a - 1),
    ):
        np.testing.assert_allclose(estimate[1:], moved(values, estimate.value), rtol=1e-4)
        assert estimate.low < estimate.value < estimate.high
    np.testing.assert_allclose(found.delta_dim_R, b - a, rtol=1e-4, atol=1e-5)


def test_a_rotation_changes_no_draw_because_the_draws_are_paired():
    x = states(2)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))[0]
    found = layer_geometry(x, x @ rotation, **SETTINGS)
    assert found.original.high - found.original.low > 0.1
    np.testing.assert_allclose(found.delta_dim, 0, atol=1e-5)


def test_a_model_against_itself():
    x = states(0)
    found = layer_geometry(x, x.clone(), **SETTINGS)
    np.testing.assert_allclose(found.cosine_N, 1, rtol=1e-12)
    assert found.l2_N.tolist() == found.l2_relative_N.tolist() == [0.0] * 7
    assert found.delta_dim == found.delta_dim_relative == (0.0, 0.0, 0.0)
    assert found.original == found.tuned
    assert found.positions == 77
    assert not np.isnan(found.delta_dim_R).any()


def test_scaled_states_by_hand():
    x = states(1)
    found = layer_geometry(x, 3 * x, **SETTINGS)
    np.testing.assert_allclose(found.tuned, found.original, rtol=1e-5)
    np.testing.assert_allclose(found.cosine_N, 1, rtol=1e-6)
    np.testing.assert_allclose(found.l2_N, 2 * x.norm(dim=-1).mean(dim=-1), rtol=1e-5)
    np.testing.assert_allclose(found.l2_relative_N, 2, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_distances_agree_with_scipy_position_by_position(seed):
    from scipy.spatial import distance

    x, y = states(seed), states(seed + 20)
    found = layer_geometry(x, y, **SETTINGS)
    for context in range(7):
        pairs = list(zip(x[context].numpy(), y[context].numpy(), strict=True))
        cosine = np.mean([1 - distance.cosine(a, b) for a, b in pairs])
        l2 = np.mean([distance.euclidean(a, b) for a, b in pairs])
        relative = np.mean([distance.euclidean(a, b) / np.linalg.norm(a) for a, b in pairs])
        assert found.cosine_N[context] == pytest.approx(cosine, rel=1e-5)
        assert found.l2_N[context] == pytest.approx(l2, rel=1e-5)
        assert found.l2_relative_N[context] == pytest.approx(relative, rel=1e-5)


def test_zero_vectors_are_left_out():
    x, y = states(0, n=3, t=2), states(1, n=3, t=2)
    x[0, 0] = 0  # the original's: neither cosine nor relative distance
    y[1, 1] = 0  # the tuned's: no cosine, relative distance 1
    x[2] = 0
    found = layer_geometry(x, y, **SETTINGS)
    for context, position in ((0, 1), (1, 0)):
        both = x[context, position], y[context, position]
        alone = torch.nn.functional.cosine_similarity(*both, dim=0)
        assert found.cosine_N[context] == pytest.approx(alone.item(), rel=1e-5)
    relative = (y - x).norm(dim=-1) / x.norm(dim=-1)
    assert found.l2_relative_N[0] == pytest.approx(relative[0, 1].item(), rel=1e-5)
    assert found.l2_relative_N[1] == pytest.approx((relative[1, 0].item() + 1) / 2, rel=1e-5)
    assert np.isnan(found.cosine_N).tolist() == [False, False, True]
    assert np.isnan(found.l2_relative_N).tolist() == [False, False, True]
    assert found.l2_N[2] == pytest.approx(y[2].norm(dim=-1).mean().item(), rel=1e-5)


@pytest.mark.parametrize("n", [200, 1_000])
def test_isotropic_states_give_the_known_bias(n):
    d = 100
    x = torch.randn(n // 20, 20, d, generator=torch.Generator().manual_seed(0))
    found = layer_geometry(x, x, **SETTINGS)
    assert found.original.value == pytest.approx(n * d / (n + d), rel=0.03)
    assert found.is_few is (n < 1_000)


def test_planted_rank_is_found():
    random = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(20, 20, generator=random))[0]
    x = torch.randn(40, 25, 2, generator=random) @ basis[:2]
    y = torch.randn(40, 25, 6, generator=random) @ basis[:6]
    delta = layer_geometry(x, y, **SETTINGS).delta_dim
    assert delta.value == pytest.approx(4, abs=0.1)
    assert 3.5 < delta.low < delta.high < 4


def test_no_spread_is_undefined():
    x = torch.full((3, 4, 5), 0.1)
    found = layer_geometry(x, states(0, n=3, t=4), **SETTINGS)
    assert found.original is found.delta_dim is found.delta_dim_relative is None
    assert found.original_without_largest is None
    assert found.tuned.low is not None
    assert len(found.delta_dim_R) == SETTINGS["resamples"]
    assert np.isnan(found.delta_dim_R).all()


def test_draws_without_spread_are_left_out():
    x = states(0, n=3, t=1)
    W = draws(SETTINGS["seed"], 3, SETTINGS["resamples"])
    found = layer_geometry(x, x, **SETTINGS)
    is_alone = W.max(axis=1) == 3
    assert is_alone.any()
    assert np.isnan(found.delta_dim_R).tolist() == is_alone.tolist()
    assert np.isnan(participation_ratios(x, W)).tolist() == (W.max(axis=1) == 3).tolist()
    low, high = moved(participation_ratios(x, W), found.original.value)
    assert found.original[1:] == (pytest.approx(low), pytest.approx(high))


def test_one_context_has_no_interval_and_few_dimensions_no_trimmed_ratio():
    x = states(0, n=1, d=4)
    found = layer_geometry(x, x, **SETTINGS)
    assert found.original.value >= 1
    assert found.original[1:] == (None, None)
    assert found.original_without_largest is None


def test_rms_normalised_states_have_unit_rms_and_their_direction():
    x = states(0)
    x[0, 0] = 0
    y = rms_normalise(x.bfloat16())
    assert y.dtype == torch.float32
    assert y[0, 0].tolist() == [0.0] * 5
    expected = x.bfloat16().double().numpy()[1]
    expected /= np.sqrt((expected**2).mean(axis=-1, keepdims=True))
    np.testing.assert_allclose(y[1], expected, rtol=1e-6)


def test_bad_input_is_refused():
    x = states(0)
    with pytest.raises(ValueError, match=r"\(7, 11, 5\) and \(6, 11, 5\)"):
        layer_geometry(x, x[1:], **SETTINGS)
    with pytest.raises(ValueError, match="finite"):
        layer_geometry(x, x * torch.nan, **SETTINGS)
    with pytest.raises(ValueError, match="confidence"):
        layer_geometry(x, x, resamples=10, confidence=95, seed=0)
    for wrong in (np.ones((2, 6), int), np.zeros((1, 7), int), -np.ones((1, 7), int)):
        with pytest.raises(ValueError, match="7 contexts"):
            participation_ratios(x, wrong)
