"""Rank bins and histograms against naive counting and numpy's histogram."""

import numpy as np
import pytest
import torch

from hyperfitting.measure.ranks import (
    rank_bin_shares,
    rank_histogram,
    rank_shares,
    shares_by_position,
    token_ranks,
    top_token,
)

NAMES = ["rank_1", "rank_2_10", "rank_11_200", "rank_gt_200"]


def bin_of(rank):
    if rank == 1:
        return "rank_1"
    if rank <= 10:
        return "rank_2_10"
    return "rank_11_200" if rank <= 200 else "rank_gt_200"


def random_ranks(seed, shape=300):
    rng = np.random.default_rng(seed)
    return np.ceil(np.exp(rng.uniform(0, np.log(32_000), shape))).astype(np.int64)


@pytest.mark.parametrize("shape", [(0,), (7,), (3, 5)])
def test_token_ranks_agree_with_sorting(shape):
    generator = torch.Generator().manual_seed(1)
    logits = (3 * torch.randn(*shape, 40, generator=generator)).round()
    tokens = torch.randint(40, shape, generator=generator)
    found = token_ranks(logits, tokens)
    assert found.shape == tokens.shape
    for row, token, rank in zip(
        logits.reshape(-1, 40).tolist(), tokens.flatten(), found.flatten(), strict=True
    ):
        assert sorted(row, reverse=True).index(row[token]) + 1 == rank


def test_borders_of_the_bins():
    found = rank_bin_shares(np.array([1, 2, 10, 11, 200, 201, 999, 1000]))
    assert found == {
        "rank_1": 1 / 8,
        "rank_2_10": 2 / 8,
        "rank_11_200": 2 / 8,
        "rank_gt_200": 3 / 8,
        "rank_gt_10": 5 / 8,
    }


@pytest.mark.parametrize("seed", range(5))
def test_shares_agree_with_counting_and_with_the_three_bins(seed):
    ranks = random_ranks(seed)
    found = rank_bin_shares(ranks)
    bins = [bin_of(rank) for rank in ranks]
    for name in NAMES:
        assert found[name] == pytest.approx(bins.count(name) / len(bins))
    assert sum(found[name] for name in NAMES) == pytest.approx(1)
    assert found["rank_gt_10"] == pytest.approx(found["rank_11_200"] + found["rank_gt_200"])
    assert {name: found[name] for name in rank_shares(ranks)._fields} == rank_shares(
        ranks
    )._asdict()


@pytest.mark.parametrize("seed", range(5))
def test_histogram_agrees_with_numpy(seed):
    ranks = random_ranks(seed, (10, 40))
    edges, counts = rank_histogram(ranks)
    expected, _ = np.histogram(ranks, bins=edges - 0.5)
    assert counts.tolist() == expected.tolist()
    assert counts.sum() == ranks.size
    assert counts[-1] > 0


def test_each_rank_is_in_the_bin_of_its_power_of_two():
    edges, counts = rank_histogram(np.arange(1, 33))
    assert edges.tolist() == [1, 2, 3, 5, 9, 17, 33]
    assert counts.tolist() == [1, 1, 2, 4, 8, 16]
    assert rank_histogram(np.array([1]))[0].tolist() == [1, 2]


def test_histograms_of_one_vocabulary_have_the_same_bins():
    edges, counts = rank_histogram(np.array([1, 1, 7]), largest=33)
    assert edges.tolist() == [1, 2, 3, 5, 9, 17, 33, 65]
    assert counts.tolist() == [2, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_shares_by_position_agree_with_each_position_alone(seed):
    ranks = random_ranks(seed, (23, 7))
    found = shares_by_position(ranks)
    assert found.shape == (7, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    for position in range(7):
        bins = [bin_of(rank) for rank in ranks[:, position]]
        assert found[position].tolist() == pytest.approx([bins.count(n) / 23 for n in NAMES])


def test_undefined_and_impossible_ranks_are_refused():
    nothing = np.empty(0, dtype=np.int64)
    with pytest.raises(ValueError, match="at least one"):
        rank_bin_shares(nothing)
    with pytest.raises(ValueError, match="at least one"):
        rank_histogram(nothing)
    with pytest.raises(ValueError, match=r"1\.\.5"):
        rank_histogram(np.array([6]), largest=5)
    with pytest.raises(ValueError, match=r"1\.\.3"):
        rank_histogram(np.array([0, 3]))
    for ranks in (nothing, np.empty((0, 4), dtype=np.int64)):
        with pytest.raises(ValueError, match="N > 0"):
            shares_by_position(ranks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 7)])
def test_the_top_token_is_the_first_of_the_largest(shape, dtype):
    logits = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    logits[..., 0] = -torch.inf
    found = top_token(logits)
    assert found.dtype == torch.int64
    assert found.shape == shape[:-1]
    for row, token in zip(logits.reshape(-1, 7).tolist(), found.flatten().tolist(), strict=True):
        assert token == row.index(max(row))
