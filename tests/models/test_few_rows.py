"""The product of few rows is the linear layer's, and only where it is meant."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from hyperfitting.generate.decode import decode
from hyperfitting.models import few_rows as module
from hyperfitting.models.few_rows import MOST_ROWS, FewRows, few_rows, linear_of_few_rows
from tests.tiny import tiny_model


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (1, 2, 7), (2, 1, 7)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_it_is_the_linear_layer(shape, has_bias):
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(11, 7)
    bias = torch.randn(11) if has_bias else None
    exact = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    with FewRows():
        found = F.linear(x, weight, bias)
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-5)
    assert torch.equal(found, linear_of_few_rows(x, weight, bias))


@pytest.fixture
def taken(monkeypatch):
    """Rows of every product that went the other way."""
    found = []
    plain = module.linear_of_few_rows

    def spy(x, weight, bias=None):
        found.append(x.numel() // x.shape[-1])
        return plain(x, weight, bias)

    monkeypatch.setattr(module, "linear_of_few_rows", spy)
    return found


def test_other_rows_dtypes_and_functions_stay_as_they_are(taken):
    weight = torch.randn(4, 3)
    with FewRows():
        for rows in (1, 2, MOST_ROWS, MOST_ROWS + 1):
            F.linear(torch.randn(rows, 3), weight)
        F.linear(torch.randn(2, 3).double(), weight.double())
        F.linear(torch.randn(2, 3).bfloat16(), weight.bfloat16())
        F.linear(torch.randn(2, 3), torch.randn(3))
        torch.randn(2, 3) @ weight.T
    assert taken == [2, MOST_ROWS]


def test_it_is_left_out_under_autocast_and_on_other_devices():
    assert isinstance(few_rows(torch.device("cpu")), FewRows)
    assert not isinstance(few_rows(torch.device("cuda")), FewRows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not isinstance(few_rows(torch.device("cpu")), FewRows)


def test_decoding_takes_it_and_writes_what_whole_texts_say(taken):
    model = tiny_model("llama")
    contexts = [[5, 6, 7], [9, 8, 4], [3, 3, 8]]
    found = decode(model, contexts, max_new_tokens=12)
    assert 3 in taken, "a step has a row a text"
    with torch.no_grad():
        for context, text in zip(contexts, found, strict=True):
            ids = list(context)
            for token in text.ids:
                assert int(model(torch.tensor([ids])).logits[0, -1].argmax()) == token
                ids.append(token)
