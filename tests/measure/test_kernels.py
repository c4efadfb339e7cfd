"""Entropy, likelihood and agreement against independent oracles."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from hyperfitting.measure.entropy import prediction_entropy_nats
from hyperfitting.measure.likelihood import token_nll_nats
from hyperfitting.measure.ranks import top1_agreement


@pytest.fixture
def logits():
    return 4 * torch.randn(30, 50, generator=torch.Generator().manual_seed(0))


def test_entropy_of_uniform_and_of_certainty():
    assert prediction_entropy_nats(torch.zeros(1, 8)).item() == pytest.approx(np.log(8))
    certain = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert prediction_entropy_nats(certain).item() == 0.0


def test_entropy_agrees_with_scipy(logits):
    expected = scipy.stats.entropy(scipy.special.softmax(logits.double().numpy(), axis=1), axis=1)
    np.testing.assert_allclose(prediction_entropy_nats(logits), expected, rtol=1e-5, atol=1e-6)


def test_entropy_is_unchanged_by_a_constant_and_computed_in_float32(logits):
    torch.testing.assert_close(prediction_entropy_nats(logits + 3), prediction_entropy_nats(logits))
    assert prediction_entropy_nats(logits.bfloat16()).dtype == torch.float32


def test_likelihood_agrees_with_scipy(logits):
    target = torch.arange(30)
    log_p = scipy.special.log_softmax(logits.double().numpy(), axis=1)
    np.testing.assert_allclose(
        token_nll_nats(logits, target), -log_p[np.arange(30), np.arange(30)], rtol=1e-5
    )


def test_agreement_by_hand_and_with_itself():
    a = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    b = np.array([[1, 2, 0, 0], [0, 6, 7, 8]])
    assert top1_agreement(a, b).tolist() == [0.5, 0.75]
    assert top1_agreement(a, a).tolist() == [1.0, 1.0]


def test_agreement_refuses_other_positions():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        top1_agreement(np.zeros((2, 3), int), np.zeros((2, 4), int))
