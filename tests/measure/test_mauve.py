"""MAUVE: naive integral, exact values, planted shifts, parity with the published package."""

import builtins
import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperfitting.errors import InputError
from hyperfitting.measure.mauve import mauve, mauve_from_histograms

pytest.importorskip("sklearn")

counts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8).filter(
    lambda pairs: all(sum(side) for side in zip(*pairs, strict=True))
)


def naive(p, q, c):
    """Both orientations averaged, point by point, as the published steps say it."""
    p, q = np.array(p) / sum(p), np.array(q) / sum(q)
    points = [(0.0, 1.0), (1.0, 0.0)]
    for i in range(25):
        w = 1e-6 + i * (1 - 2e-6) / 24
        r = [w * a + (1 - w) * b for a, b in zip(p, q, strict=True)]
        x, y = (np.exp(-c * sum(scipy.special.rel_entr(side, r))) for side in (q, p))
        points.append((x, y))

    def area(points):
        total = 0.0
        # Points above one another: from the top where the curve comes from, to the bottom.
        ordered = sorted(points, key=lambda point: (point[0], -point[1]))
        for (x0, y0), (x1, y1) in itertools.pairwise(ordered):
            total += (x1 - x0) * (y0 + y1) / 2
        return total

    return (area(points) + area([(y, x) for x, y in points])) / 2


@settings(max_examples=40, deadline=None)
@given(counts, st.sampled_from([1.0, 5.0]))
def test_area_agrees_with_naive_integration_over_both_axes(pairs, c):
    p, q = zip(*pairs, strict=True)
    value = mauve_from_histograms(np.array(p), np.array(q), scaling=c)
    assert value == pytest.approx(naive(p, q, c), abs=1e-9)
    assert 0 < value <= 1 + 1e-12
    assert value == pytest.approx(mauve_from_histograms(np.array(q), np.array(p), scaling=c))


def test_equal_histograms_give_1_whatever_their_total():
    assert mauve_from_histograms(np.array([1, 2, 3]), np.array([10, 20, 30])) == pytest.approx(1)


def test_histograms_without_a_common_bucket_give_the_beta_integral():
    """The curve is then ((1-w)^c, w^c), and the area c B(c+1, c)."""
    exact = 5 * scipy.special.beta(6, 5)
    apart = mauve_from_histograms(np.array([1, 0]), np.array([0, 1]))
    assert apart == pytest.approx(exact, rel=0.04)  # 25 points only


def test_histograms_by_hand_with_a_fine_integral():
    p, q, w = np.array([0.7, 0.3]), np.array([0.4, 0.6]), np.linspace(1e-9, 1 - 1e-9, 20_001)
    r = np.outer(w, p) + np.outer(1 - w, q)
    x = np.exp(-5 * scipy.special.rel_entr(q, r).sum(axis=1))
    y = np.exp(-5 * scipy.special.rel_entr(p, r).sum(axis=1))
    # Left of the curve's last point the line goes on to (0, 1), right of the first to (1, 0).
    exact = np.trapezoid(y[::-1], x[::-1]) + x[-1] * (y[-1] + 1) / 2 + (1 - x[0]) * y[0] / 2
    assert mauve_from_histograms(p, q) == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize(
    ("p", "q"),
    [([1, 2], [1, 2, 3]), ([1, -1], [1, 1]), ([0, 0], [1, 1]), ([np.nan, 1], [1, 1]), ([], [])],
)
def test_bad_histograms_are_refused(p, q):
    with pytest.raises(ValueError):
        mauve_from_histograms(np.array(p), np.array(q))
    with pytest.raises(ValueError, match="scaling"):
        mauve_from_histograms(np.array([1, 2]), np.array([1, 2]), scaling=0)


def normal(n, d=8, seed=0, shift=0.0):
    # Away from 0, so that scaling to length 1 keeps a shift.
    return np.random.default_rng(seed).normal(size=(n, d)) + 3 + shift * np.eye(d)[0]


def test_a_set_against_itself_is_1():
    result = mauve(normal(60), normal(60), base_seed=0)
    assert result.per_seed == pytest.approx([1] * 5)
    assert (result.value, result.spread) == (pytest.approx(1), pytest.approx(0))
    assert (result.num_buckets, result.n, result.small_sample) == (6, 60, True)
    assert result.reason is None


def test_it_falls_with_a_planted_shift():
    values = [
        mauve(normal(150), normal(150, seed=1, shift=shift), seeds=3, base_seed=3).value
        for shift in (0, 1, 1.5, 2, 3)
    ]
    assert all(a > b + 0.01 for a, b in itertools.pairwise(values)), values
    assert values[0] > 0.9
    assert values[-1] < 0.2


def test_planted_clusters_give_the_area_of_their_shares():
    """Where k-means has one answer, MAUVE is the area of the planted histograms, exactly."""
    rng = np.random.default_rng(5)
    p_K, q_K = [60, 30, 10, 20], [20, 30, 60, 10]
    sides = [
        np.repeat(10 * np.eye(4, 6), shares, axis=0) + 0.01 * rng.normal(size=(120, 6))
        for shares in (p_K, q_K)
    ]
    result = mauve(*sides, num_buckets=4, base_seed=1)
    assert result.value == pytest.approx(naive(p_K, q_K, 5.0))
    assert result.spread == pytest.approx(0, abs=1e-12)
    assert result.num_dimensions == 3  # four centres span three axes


def test_seeds_are_averaged_and_can_be_repeated():
    p, q = normal(100), normal(100, seed=1, shift=2)
    result = mauve(p, q, seeds=3, base_seed=7)
    one_by_one = [mauve(p, q, seeds=1, base_seed=7 + i) for i in range(3)]
    assert result.per_seed == tuple(each.value for each in one_by_one)
    assert result.value == pytest.approx(sum(result.per_seed) / 3)
    assert result.spread == pytest.approx(scipy.stats.tstd(result.per_seed))
    assert len(set(result.per_seed)) > 1
    assert one_by_one[0].spread is None


def test_the_length_of_a_text_s_features_does_not_matter():
    p, q = normal(60), normal(60, seed=1, shift=2)
    lengths = 2.0 ** np.random.default_rng(2).integers(-3, 4, (60, 1))  # exact in binary
    assert mauve(p * lengths, q, base_seed=0).value == pytest.approx(
        mauve(p, q, base_seed=0).value, abs=1e-9
    )


def test_what_is_undefined_says_why():
    few = mauve(normal(19), normal(19, seed=1), base_seed=0)
    assert few.value is None
    assert "19 texts" in few.reason
    equal = mauve(np.ones((30, 4)), np.ones((30, 4)), base_seed=0)
    assert equal.value is None
    assert "same features" in equal.reason


@pytest.mark.filterwarnings("error")
def test_fewer_different_texts_than_buckets_are_no_fault():
    human, looped = (np.tile(normal(3, seed=seed), (20, 1)) for seed in (1, 2))
    result = mauve(human, looped, num_buckets=10, base_seed=0)
    assert result.value == pytest.approx(mauve_from_histograms([1, 0], [0, 1]))


@pytest.mark.parametrize("num_buckets", [1, 31])
def test_buckets_and_texts_must_fit(num_buckets):
    with pytest.raises(InputError, match="buckets with 30 texts"):
        mauve(normal(30), normal(30, seed=1), num_buckets=num_buckets, base_seed=0)


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (normal(30), normal(29)),
        (normal(30), normal(30, d=7)),
        (normal(30)[0], normal(30)[0]),
        (np.vstack([np.full((1, 8), np.nan), normal(29)]), normal(30)),
        (np.vstack([np.zeros((1, 8)), normal(29)]), normal(30)),
    ],
)
def test_bad_features_are_refused(p, q):
    with pytest.raises(ValueError, match="features"):
        mauve(p, q, base_seed=0)


@pytest.mark.parametrize("wrong", [{"variance": 1.0}, {"variance": 0}, {"seeds": 0}])
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="needed"):
        mauve(normal(30), normal(30), base_seed=0, **wrong)


def test_a_missing_library_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"hyperfitting\[quality\]"):
        mauve(normal(30), normal(30, seed=1), base_seed=0)


def synthetic_cases(n, d=24):
    """Five pairs of feature sets: equal, shifted, wider, other cluster shares, half collapsed."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(d, d)) / np.sqrt(d)
    centres = 2 * rng.normal(size=(6, d))

    def plain():
        return rng.normal(size=(n, d)) @ mixing

    def clusters(shares):
        return centres[rng.choice(6, n, p=shares)] + rng.normal(size=(n, d))

    return {
        "equal": (plain() + 1, plain() + 1),
        "shifted": (plain() + 1, plain() + 1 + mixing[0]),
        "wider": (plain() + 1, 1.5 * plain() + 1),
        "shares": (clusters([1 / 6] * 6), clusters([0.4, 0.3, 0.1, 0.1, 0.05, 0.05])),
        "collapsed": (
            rng.normal(size=(n, d)),
            np.vstack([rng.normal(size=(n // 2, d)), 0.3 * rng.normal(size=(n // 2, d)) + 2]),
        ),
    }


@pytest.mark.parametrize("case", synthetic_cases(2))
def test_area_equals_that_of_the_published_package(case):
    """Development only: the package is GPL and no dependency."""
    package = pytest.importorskip("mauve", reason="mauve-text is not installed")
    p, q = synthetic_cases(200)[case]
    for seed in range(3):
        theirs = package.compute_mauve(p_features=p, q_features=q, seed=seed, verbose=False)
        ours = mauve_from_histograms(theirs.p_hist, theirs.q_hist)
        assert ours == pytest.approx(theirs.mauve, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("case", synthetic_cases(2))
def test_value_equals_that_of_the_published_package(case):
    """Development only. The libraries' k-means start elsewhere, so their means are compared."""
    package = pytest.importorskip("mauve", reason="mauve-text is not installed")
    p, q = (side.astype(np.float32) for side in synthetic_cases(300)[case])
    runs = 100  # one run spreads by 0.01 to 0.04
    ours = mauve(p, q, seeds=runs, base_seed=0)
    theirs = [
        package.compute_mauve(p_features=p, q_features=q, seed=seed, verbose=False)
        for seed in range(runs)
    ]
    mean = np.mean([each.mauve for each in theirs])
    print(f"{case}: ours {ours.value:.4f}, theirs {mean:.4f}, spread {ours.spread:.4f}")
    assert ours.num_buckets == theirs[0].num_buckets
    assert ours.value == pytest.approx(mean, abs=0.01)
