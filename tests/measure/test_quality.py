"""Distinct n-grams and self-BLEU against naive loops; exact cases; undefined."""

import builtins
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperfitting.errors import InputError
from hyperfitting.measure.intervals import ratio_draws
from hyperfitting.measure.quality import distinct_n, distinct_parts, self_bleu


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=5), st.integers(1, 4))
def test_distinct_n_agrees_with_counting_by_hand(texts, n):
    seen, new, total = [], 0, 0
    for ids in texts:
        for i in range(len(ids)):
            if len(ids[i : i + n]) == n:
                total += 1
                new += ids[i : i + n] not in seen
                seen.append(ids[i : i + n])
    expected = pytest.approx(new / total) if total else None
    assert distinct_n(texts, n) == expected


def test_distinct_n_by_hand_and_undefined():
    assert distinct_n([[1, 2, 3], [1, 2, 4]], 2) == pytest.approx(3 / 4)
    assert distinct_n([[1], [2]], 2) is None
    assert distinct_n([], 1) is None
    with pytest.raises(ValueError, match="at least 1"):
        distinct_n([[1]], 0)


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=5), st.integers(1, 4))
def test_the_parts_of_the_texts_add_up_to_distinct_n(texts, n):
    parts_N, grams_N = distinct_parts(texts, n)
    assert grams_N.tolist() == [max(0, len(ids) - n + 1) for ids in texts]
    whole = distinct_n(texts, n)
    if whole is not None:
        assert parts_N.sum() / grams_N.sum() == pytest.approx(whole)


def test_a_shared_bigram_is_divided():
    parts_N, _ = distinct_parts([[1, 2, 3], [1, 2, 1, 2]], 2)
    assert parts_N.tolist() == [1.5, 1.5]


@pytest.mark.parametrize("kind", ["varied", "loops", "mixed"])
def test_the_interval_of_distinct_2_is_as_wide_as_other_texts_would_make_it(kind):
    """Whole texts that are drawn twice would make it several times as wide for varied ones."""
    rng = np.random.default_rng(0)
    weight_V = 1 / np.arange(1, 1001) ** 1.1

    def text():
        power = rng.uniform(0.7, 1.8) if kind == "mixed" else 1.0
        of_V = weight_V**power / (weight_V**power).sum()
        if kind == "loops":
            return np.resize(rng.choice(1000, rng.integers(2, 30), p=of_V), 64).tolist()
        return rng.choice(1000, 64, p=of_V).tolist()

    values, widths = [], []
    for _ in range(60):
        texts = [text() for _ in range(40)]
        values.append(distinct_n(texts, 2))
        widths.append(ratio_draws(*distinct_parts(texts, 2), resamples=200, seed=0).std())
    assert 0.75 < np.mean(widths) / np.std(values) < 1.35


def naive_bleu(words, references, order):
    """BLEU of the paper (Papineni et al. 2002): clipped precisions and the brevity penalty."""

    def grams(text, n):
        return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))

    log_precision = 0.0
    for n in range(1, order + 1):
        allowed = Counter()
        for reference in references:
            allowed |= grams(reference, n)
        own = grams(words, n)
        matched = sum(min(count, allowed[gram]) for gram, count in own.items())
        assert matched, "without a match smoothing would matter"
        log_precision += math.log(matched / own.total()) / order
    closest = min((abs(len(r) - len(words)), len(r)) for r in references)[1]
    penalty = min(0.0, 1 - closest / len(words))
    return 100 * math.exp(log_precision + penalty)


@pytest.fixture
def bleu():
    pytest.importorskip("sacrebleu")
    return self_bleu


@pytest.mark.parametrize("order", [2, 4])
def test_self_bleu_agrees_with_a_naive_bleu(bleu, order):
    rng = np.random.default_rng(0)
    texts = [rng.choice(list("abc"), 20 + 3 * i).tolist() for i in range(8)]
    result = bleu([" ".join(words) for words in texts], order, seed=0)
    expected = [
        naive_bleu(words, texts[:i] + texts[i + 1 :], order) for i, words in enumerate(texts)
    ]
    assert result.value == pytest.approx(np.mean(expected))
    assert result[1:4] == (8, 0, order)
    assert "smooth:exp" in result.signature


def test_equal_texts_give_100_and_strangers_almost_nothing(bleu):
    assert bleu(["the cat sat on the mat"] * 3, seed=0).value == pytest.approx(100)
    strangers = [" ".join(f"w{i}x{j}" for j in range(30)) for i in range(4)]
    assert bleu(strangers, seed=0).value < 1


def test_many_texts_are_sampled_with_the_seed(bleu):
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(list("abcdef"), 15)) for _ in range(12)]
    some = bleu(texts, max_texts=5, seed=3)
    assert some.n == 5
    assert some == bleu(texts, max_texts=5, seed=3)
    assert len({bleu(texts, max_texts=5, seed=seed).value for seed in range(5)}) > 1
    drawn = sorted(np.random.default_rng(3).choice(12, 5, replace=False))
    assert some.value == bleu([texts[i] for i in drawn], seed=0).value
    assert bleu(texts, max_texts=None, seed=0).n == 12


def test_blank_texts_are_left_out_and_counted(bleu):
    written = ["one two three four five", "one two three four six"]
    with_blank = bleu([written[0], "  ", written[1], ""], seed=0)
    assert with_blank.undefined == 2
    assert with_blank.value == bleu(written, seed=0).value
    few = bleu(["one", " "], seed=0)
    assert few.value is None
    assert "at least 2" in few.reason


@pytest.mark.parametrize("wrong", [{"order": 0}, {"max_texts": 1}])
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="needed"):
        self_bleu(["a", "b"], seed=0, **wrong)


def test_a_missing_library_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"hyperfitting\[quality\]"):
        self_bleu(["a", "b"], seed=0)
