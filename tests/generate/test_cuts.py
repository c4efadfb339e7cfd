"""min-k, p-less and the dynamic temperature against loops written from their formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperfitting.generate.cuts import FEW, DynamicTemperature, MinK, PLess, min_k
from hyperfitting.generate.run import chooser
from hyperfitting.generate.specs import parse_decoder
from tests.generate.naive import entropy, softmax


def naive_min_k(logits, tau):
    """Algorithm 1 of arXiv 2604.11012, over the tokens that are allowed."""
    z = sorted((float(v) for v in logits if math.isfinite(v)), reverse=True)
    width = z[0] - z[-1]
    best, cliff = -1.0, 1
    for i in range(1, len(z)):
        weight = (z[i - 1] - z[i]) / (width + 1e-8) / i
        if weight > best * (1 + 1e-12):
            best, cliff = weight, i
    return min(max(cliff, math.floor(tau / (width + 1e-8))), len(z))


@pytest.mark.parametrize("size", [1, 2, 9, FEW, FEW + 1, 3000])
@pytest.mark.parametrize("tau", [0.5, 3.0, 60.0])
def test_min_k_is_algorithm_1(size, tau):
    rng = np.random.default_rng(size)
    rows = [rng.normal(0, scale, size) for scale in (1e-3, 0.05, 1, 4)]
    rows.append(np.linspace(1, 0, size))  # nothing but equal falls
    rows.append(np.zeros(size))
    logits = torch.tensor(np.array(rows), dtype=torch.float32)
    assert min_k(logits, tau).tolist() == [naive_min_k(row, tau) for row in logits.tolist()]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(-30, 30, width=32) | st.just(-math.inf), min_size=1, max_size=12).filter(
        lambda row: any(map(math.isfinite, row))
    )
)
def test_min_k_looks_at_allowed_tokens_only(row):
    assert int(min_k(torch.tensor([row]), 3.0)) == naive_min_k(row, 3.0)


def test_a_steepest_fall_beyond_the_largest_few_is_found():
    z = torch.linspace(1e-3, 0, 4000)
    z[1500:] -= 900.0  # 900 / 1500 > any fall before
    assert int(min_k(z[None], 3.0)) == 1500


@pytest.mark.parametrize("cliff", [1, 4, 17])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 12.0])
def test_a_planted_cliff_is_found_at_any_temperature(cliff, temperature):
    z = -0.01 * torch.arange(200.0)
    z[cliff:] -= 40.0
    z = z[torch.randperm(200, generator=torch.manual_seed(1))]
    assert int(min_k(z[None] / temperature, tau=1e-9)) == cliff


def test_what_tau_adds_depends_on_the_temperature_so_raw_logits_are_read():
    z = 0.02 * torch.randn(1, 300, generator=torch.manual_seed(0))
    assert int(min_k(z, 3.0)) != int(min_k(z / 0.25, 3.0))
    kept = []
    for temperature in ("0.25", "1", "4"):
        choose = chooser(parse_decoder(f"min_k:3+temperature:{temperature}"), [[0]])
        choose(z, range(1), 0, torch.zeros(1, 1, dtype=torch.long))
        kept.append(int(choose.filtered(z, torch.zeros(1, 1).long()).isfinite().sum()))
    assert kept == [int(min_k(z, 3.0))] * 3


def test_a_banned_token_or_a_padded_row_has_no_part_in_the_range():
    z = 0.02 * torch.randn(1, 300, generator=torch.manual_seed(0))
    padded = torch.nn.functional.pad(z, (0, 20), value=-torch.inf)
    assert int(min_k(padded, 3.0)) == int(min_k(z, 3.0)) > 20
    assert MinK(3.0)(None, padded).isfinite().sum() == min_k(z, 3.0)


def test_a_penalty_does_not_move_the_cliff_but_may_change_who_is_kept():
    z = torch.tensor([[5.0, 4.9, 4.8, 0.0, -0.1, -0.2]])
    seen = torch.tensor([[1, 0, 1, 0, 1]])
    choose = chooser(parse_decoder("min_k:1e-6+dry:1000,base=100,breakers=0"), [[0]])
    choose(z, range(1), 0, seen)
    kept = choose.filtered(z, seen)[0].isfinite()
    assert kept.tolist() == [False, True, True, True, False, False]  # three, without the loop's


def test_those_equal_to_the_last_kept_logit_stay():
    z = torch.tensor([[3.0, 1.0, 1.0, 1.0, 0.9]])
    choose = MinK(4.4)  # floor(4.4 / 2.1) = 2 of the five
    assert choose(None, z).isfinite().tolist() == [[True, True, True, True, False]]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(-12, 12, width=32), min_size=1, max_size=10))
def test_p_less_keeps_what_the_formula_keeps(row):
    p = softmax(np.array(row, dtype=np.float64))
    found = PLess()(None, torch.tensor([row]))[0].isfinite().tolist()
    collision = (p**2).sum()
    for kept, probability in zip(found, p, strict=True):
        if abs(probability / collision - 1) > 1e-5:
            assert kept == (probability >= collision)
    assert found[int(p.argmax())]


@pytest.mark.parametrize("count", [1, 2, 3, 1000, 50_257, 151_936])
def test_p_less_leaves_a_uniform_distribution_whole(count):
    logits = torch.full((1, count + 3), -7.3)
    logits[:, :3] = -torch.inf
    assert int(PLess()(None, logits).isfinite().sum()) == count


@settings(max_examples=80, deadline=None)
@given(
    row=st.lists(st.floats(-12, 12, width=32), min_size=2, max_size=10),
    low=st.floats(0.1, 1), high=st.floats(0.5, 3), exponent=st.floats(0.3, 3),
)  # fmt: skip
def test_the_dynamic_temperature_is_its_formula(row, low, high, exponent):
    share = entropy(softmax(np.array(row, dtype=np.float64))) / math.log(len(row))
    expected = low + (high - low) * min(max(share, 0), 1) ** exponent
    banned = torch.tensor([[*row, -torch.inf]], dtype=torch.float64)
    found = DynamicTemperature(low, high, exponent)(None, banned)
    assert found[0, :-1].tolist() == pytest.approx([z / expected for z in row], rel=1e-6, abs=1e-9)
    assert found[0, -1] == -torch.inf


def test_a_sure_token_and_equal_tokens_have_the_two_temperatures():
    of = DynamicTemperature(0.5, 1.5, 1.0)
    alone = torch.tensor([[-torch.inf, 3.0]])
    assert of(None, alone).tolist() == [[-math.inf, 6.0]]
    assert of(None, torch.full((1, 8), 3.0)).tolist() == [pytest.approx([2.0] * 8)]
