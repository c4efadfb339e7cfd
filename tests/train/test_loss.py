"""The loss in chunks against torch's plain cross-entropy on all logits, near zero loss too."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from hyperfitting.train import loss as loss_module
from hyperfitting.train.loss import IGNORED, Head, chunk_rows, summed_nll

N, D, V = 300, 8, 50


def case(scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, D, generator=generator) * scale
    weight = torch.randn(V, D, generator=generator)
    target = torch.randint(V, (N,), generator=generator)
    target[::7] = IGNORED
    return hidden, weight, target


def plain(hidden, weight, target, softcap):
    logits = hidden @ weight.T
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    return F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")


@pytest.fixture(params=["torch", "own"])
def path(request, monkeypatch):
    """torch's own chunks where it has them, and ours."""
    if request.param == "torch" and not loss_module.has_linear_cross_entropy():
        pytest.skip("this torch has no linear_cross_entropy")
    if request.param == "own":
        monkeypatch.setattr(loss_module, "has_linear_cross_entropy", lambda: False)
    monkeypatch.setattr(loss_module, "chunk_rows", lambda head: 64)
    return request.param


@pytest.mark.parametrize("trains_head", [False, True])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_value_and_gradients_agree_with_plain_cross_entropy(path, softcap, trains_head):
    results = []
    for function in (plain, lambda h, w, t, cap: summed_nll(h, Head(w, cap), t)):
        hidden, weight, target = case()
        hidden.requires_grad_()
        weight.requires_grad_(trains_head)
        value = function(hidden, weight, target, softcap) * 0.5
        value.backward()
        results.append((value.detach(), hidden.grad, weight.grad))
    (a, da, wa), (b, db, wb) = results
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(da, db, rtol=1e-4, atol=1e-5)
    assert (wa is None) == (wb is None) == (not trains_head)
    if trains_head:
        torch.testing.assert_close(wa, wb, rtol=1e-4, atol=1e-4)


def test_near_zero_loss_no_gradient_is_dropped(path):
    """In float64 the same gradients are known to many digits; ours may only miss by rounding."""
    _, weight, target = case()
    weight = F.normalize(weight, dim=1)
    hidden = weight[target.clamp(min=0)] * 40  # each position points at its own target
    hidden.requires_grad_()
    summed_nll(hidden, Head(weight), target).backward()
    exact = hidden.detach().double().requires_grad_()
    value = plain(exact, weight.double(), target, None)
    value.backward()
    small = exact.grad.abs()
    assert 0 < float(value.detach()) / N < 0.2
    assert (small[target != IGNORED].amax(dim=1) < 1e-3).any(), "some gradients are tiny"
    torch.testing.assert_close(hidden.grad.double(), exact.grad, rtol=1e-2, atol=2e-6)


def test_ignored_positions_have_no_gradient(path):
    hidden, weight, target = case()
    hidden.requires_grad_()
    summed_nll(hidden, Head(weight), target).backward()
    assert hidden.grad[target == IGNORED].abs().max() == 0
    assert (hidden.grad[target != IGNORED].abs().amax(dim=1) > 0).all()


def test_a_chunk_of_logits_takes_no_more_than_it_may():
    rows = {v: chunk_rows(Head(torch.empty(v, 1))) for v in (4_000, 49_152, 262_144, 4_000_000)}
    assert rows == {4_000: 2_097, 49_152: 256, 262_144: 256, 4_000_000: 64}


def test_a_large_vocabulary_takes_our_chunks_and_a_small_one_torchs(monkeypatch):
    if not loss_module.has_linear_cross_entropy():
        pytest.skip("this torch has no linear_cross_entropy")
    found = []
    monkeypatch.setattr(
        loss_module.F, "linear_cross_entropy", lambda h, w, t, **_: found.append(len(w)) or h.sum()
    )
    for vocabulary in (loss_module.SMALL_VOCABULARY, loss_module.SMALL_VOCABULARY + 1):
        summed_nll(torch.zeros(2, 1), Head(torch.zeros(vocabulary, 1)), torch.zeros(2).long())
    assert found == [loss_module.SMALL_VOCABULARY]


def test_a_second_backward_pass_over_a_trained_head_is_refused():
    """Its gradient is scaled in place; what the second pass would add is not what it should be."""
    hidden, weight, target = case()
    weight.requires_grad_()
    value = summed_nll(hidden, Head(weight, 5.0), target) * 0.5
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_bf16_products_are_close(softcap):
    hidden, weight, target = case()
    hidden.requires_grad_()
    expected = plain(hidden, weight, target, softcap).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = summed_nll(hidden, Head(weight, softcap), target)
    found.backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.detach(), expected, rtol=2e-2, atol=0.5)
