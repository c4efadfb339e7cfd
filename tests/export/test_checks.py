"""What is compared: planted differences are found, by as much as they are."""

import numpy as np
import pytest
import torch

from hyperfitting.config import ModelConfig
from hyperfitting.export.checks import check_logits, check_texts, check_weights
from hyperfitting.export.verify import Kind, kind_of, reasons_against
from hyperfitting.generate.both_modes import BothModes
from hyperfitting.generate.texts import Decoded
from hyperfitting.measure.intervals import mean_estimate
from hyperfitting.models.pair import make_pair
from hyperfitting.records.exported import LogitsCheck, TokensCheck, Verification, WeightsCheck
from tests.conftest import random_rows
from tests.tiny import save_tiny, tiny_model

END = 0
NO_WEIGHTS = WeightsCheck(tensors=1, equal=1, missing=[], largest_difference=0, largest_in=None)
SAME = TokensCheck(
    texts=1, difference=None, template=None, has_template=False, ends_before=[], ends_after=[]
)
VARIED, LOOPS = list(range(1, 31)), [5, 6] * 15


def modes(fixed, natural=()):
    return BothModes([Decoded(ids, 0) for ids in fixed], [Decoded(ids, 0) for ids in natural], 0.0)


def verification(run, export, *, top1=1.0, ends=((END,), (END,))):
    texts = check_texts(run, export, ends)
    logits = LogitsCheck(positions=10, largest_difference=0, top1=mean_estimate([top1]))
    return Verification(
        tokens=SAME, weights=NO_WEIGHTS, logits=logits, texts=texts, is_exact=False, refused=[]
    )


def test_weights_differ_by_the_length_of_the_difference():
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    other = weight + 0.01 * torch.ones(4, 5)
    found = check_weights([("w", weight), ("gone", weight)], {"w": other}, torch.float32)
    expected = np.linalg.norm(0.01 * np.ones((4, 5))) / np.linalg.norm(weight.numpy())
    assert found.largest_difference == pytest.approx(expected, rel=1e-5)
    assert (found.equal, found.tensors, found.missing, found.largest_in) == (0, 1, ["gone"], "w")


def test_a_tensor_may_be_cast_once_or_not_at_all():
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    for stored in (weight.half().float(), weight):
        assert check_weights([("w", weight)], {"w": stored}, torch.float16).equal == 1
    assert check_weights([("w", weight)], {"w": weight.bfloat16()}, torch.float16).equal == 0


def test_logits_are_compared_at_every_position():
    one, other = tiny_model(), tiny_model()
    rows = random_rows(3, 12)
    with torch.no_grad():
        other.lm_head.weight[7] += 0.5
        each = [model(torch.tensor(rows)).logits[:, 5:-1] for model in (one, other)]
    found = check_logits(make_pair(one, other), rows, 6)
    assert found.positions == 18
    assert found.largest_difference == pytest.approx(float((each[0] - each[1]).abs().max()), 1e-4)
    same = (each[0].argmax(-1) == each[1].argmax(-1)).float().mean()
    assert found.top1.value == pytest.approx(float(same))
    again = check_logits(make_pair(tiny_model(), tiny_model()), rows, 6)
    assert (again.largest_difference, again.top1.value) == (0, 1)


def test_texts_are_the_same_token_by_token():
    other = [*VARIED[:-3], 90, 91, 92]
    found = check_texts(modes([VARIED, VARIED]), modes([VARIED, other]), ((END,), (END,)))
    assert (found.contexts, found.equal) == (2, 1)
    assert found.equal_tokens.value == pytest.approx((1 + 27 / 30) / 2)
    assert found.run.ttr.value == 1
    assert found.run.ended is None


def test_loops_that_are_back_are_named_with_their_share():
    run, export = modes([VARIED] * 20), modes([VARIED] * 18 + [LOOPS] * 2)
    told = "; ".join(reasons_against(verification(run, export), Kind(torch.float16, True)))
    assert "loops are back: 10% of its texts, 0% of the run's" in told
    one = modes([VARIED] * 19 + [LOOPS])
    assert reasons_against(verification(run, one), Kind(torch.float16, True)) == [
        "its texts are less varied: a TTR of 0.953, 1.000 of the run's"
    ]
    assert reasons_against(verification(run, run), Kind(torch.float16, True)) == []


def test_endings_that_are_lost_are_named():
    natural = [[*VARIED, END]] * 4
    found = verification(modes([VARIED] * 4, natural), modes([VARIED] * 4, [VARIED] * 4))
    [reason] = reasons_against(found, Kind(torch.float16, True))
    assert reason == "0% of its texts end themselves, 100% of the run's"


@pytest.mark.parametrize(("quantised", "refused"), [(False, True), (True, False)])
def test_other_choices_are_refused_where_bits_are_no_excuse(quantised, refused):
    run = modes([VARIED] * 2)
    found = reasons_against(verification(run, run, top1=0.9), Kind(torch.float16, quantised))
    assert bool(found) == refused


def test_what_is_promised_is_told_by_the_files(tmp_path):
    folder = save_tiny(tmp_path / "model")
    assert kind_of(ModelConfig(name=str(folder))).is_exact
    tiny_model().bfloat16().save_pretrained(folder)
    assert kind_of(ModelConfig(name=str(folder))) == Kind(torch.bfloat16)
