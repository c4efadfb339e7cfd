"""MAUVE's bootstrap: each draw by a plain loop, planted buckets, and the spread of new samples."""

import numpy as np
import pytest

from hyperfitting.evaluate import per_set as sets
from hyperfitting.evaluate.per_set import MAUVE_RESAMPLES, set_values
from hyperfitting.measure.intervals import percentiles_around
from hyperfitting.measure.mauve import _resampled, mauve, mauve_from_histograms
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from tests.evaluate.test_audits import CONFIG, HUMAN, written

pytest.importorskip("sklearn")


def drawn_values(p_N, q_N, num_buckets, drawn_RN, scaling=5.0):
    """The value of each draw of pairs: both texts of a drawn context are counted."""
    return [
        mauve_from_histograms(
            *(np.bincount(side[drawn_N], minlength=num_buckets) for side in (p_N, q_N)),
            scaling=scaling,
        )
        for drawn_N in drawn_RN
    ]


def counted(drawn_RN):
    return np.array([np.bincount(row, minlength=len(row)) for row in drawn_RN], dtype=float)


@pytest.mark.parametrize("scaling", [5.0, 1.5])
def test_draws_agree_with_a_plain_loop_over_seeds(scaling):
    rng = np.random.default_rng(0)
    n, num_buckets = 23, 6  # bucket 5 stays empty, others often do in a draw
    p_SN, q_SN = rng.integers(0, 5, (2, 3, n))
    drawn_RN = rng.integers(0, n, (12, n))
    found = _resampled(p_SN, q_SN, num_buckets, scaling, counted(drawn_RN))
    loops = [
        drawn_values(p, q, num_buckets, drawn_RN, scaling) for p, q in zip(p_SN, q_SN, strict=True)
    ]
    np.testing.assert_allclose(found, np.mean(loops, axis=0), atol=1e-12)
    assert len(set(found.round(6))) == 12


def test_both_texts_of_a_context_are_drawn_together():
    """Drawn apart, sides that fall into equal buckets would differ in a draw."""
    rng = np.random.default_rng(1)
    p_SN = rng.integers(0, 4, (2, 30))
    same = _resampled(p_SN, p_SN, 4, 5.0, counted(rng.integers(0, 30, (50, 30))))
    np.testing.assert_allclose(same, 1.0, atol=1e-12)


def clustered(bucket_N, rng):
    """Features around far corners: k-means has one answer."""
    return 10 * np.eye(4, 6)[bucket_N] + 0.01 * rng.normal(size=(len(bucket_N), 6))


def test_the_draws_of_planted_buckets():
    rng = np.random.default_rng(2)
    p_N, q_N = rng.choice(4, 60, p=[0.4, 0.3, 0.2, 0.1]), rng.choice(4, 60)
    sides = clustered(p_N, rng), clustered(q_N, rng)
    plain = mauve(*sides, num_buckets=4, seeds=3, base_seed=5)
    result = mauve(*sides, num_buckets=4, seeds=3, base_seed=5, resamples=40)
    assert plain.resampled_R is None
    assert result.value == plain.value
    times_RN = np.random.default_rng(5).multinomial(60, np.full(60, 1 / 60), size=40)
    drawn_RN = [np.repeat(np.arange(60), times_N) for times_N in times_RN]
    expected = drawn_values(p_N, q_N, 4, drawn_RN)
    np.testing.assert_allclose(result.resampled_R, expected, atol=1e-12)


def test_the_draws_spread_as_new_samples_do():
    """Within 25 %: without that an interval would claim too much or too little."""
    rng = np.random.default_rng(3)
    shares = [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]

    def sample():
        return [rng.choice(4, 150, p=p) for p in shares]

    new = [mauve_from_histograms(*map(np.bincount, sample())) for _ in range(300)]
    spreads = []
    for _ in range(12):
        p_N, q_N = sample()
        times_RN = rng.multinomial(150, np.full(150, 1 / 150), size=300).astype(float)
        spreads.append(np.std(_resampled(p_N[None], q_N[None], 4, 5.0, times_RN)))
    assert np.mean(spreads) == pytest.approx(np.std(new), rel=0.25)


def test_an_arm_s_interval_is_of_the_mean_over_its_draws(monkeypatch):
    """Two sampling seeds against one human side: the draws of contexts are shared."""
    rng = np.random.default_rng(4)
    n, names = 40, "pqr"
    bucket = {name: rng.integers(0, 4, n) for name in names}
    features = {
        f"once {name}{i}": state
        for name in names
        for i, state in enumerate(clustered(bucket[name], rng))
    }

    def planted(texts, *_, **__):
        kind = type("Found", (), {"token_limit": 9, "num_cut": 0})
        kind.feature_ND = np.array([features[text] for text in texts])
        return kind

    monkeypatch.setattr(sets, "last_token_features", planted)
    human, one, two = ([f"{name}{i}" for i in range(n)] for name in names)
    config = CONFIG.model_copy(update={"mauve_features": "planted", "confidence": 0.9, "seed": 6})
    arms = [written(HUMAN, human), written(Arm("drawn").sampled(), one, two)]
    values, about = set_values(arms, config, Progress())
    [found] = [v for v in values if (v.arm.name, v.metric) == ("drawn_sampled", "mauve")]
    assert about.arms[1].buckets == 4

    histograms = {name: np.bincount(bucket[name], minlength=4) for name in names}
    value = np.mean([mauve_from_histograms(histograms["p"], histograms[q]) for q in "qr"])
    assert found.value == pytest.approx(value)
    times_RN = np.random.default_rng(6).multinomial(n, np.full(n, 1 / n), size=MAUVE_RESAMPLES)
    drawn_RN = [np.repeat(np.arange(n), times_N) for times_N in times_RN]
    draws = np.mean([drawn_values(bucket["p"], bucket[q], 4, drawn_RN) for q in "qr"], axis=0)
    low, high = percentiles_around(value, draws, 0.9)
    assert (found.low, found.high) == pytest.approx((low, min(1.0, high)))
