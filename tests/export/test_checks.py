"""What is compared: planted differences are found, by as much as they are."""

import numpy as np
import pytest
import torch

from hyperfitting.config import ModelConfig
from hyperfitting.export import kinds
from hyperfitting.export.checks import check_logits, check_texts, check_weights, near_ties
from hyperfitting.export.kinds import BOUNDS, FEWER_BITS, LARGEST_ROUNDING, PLAIN, Kind, kind_of
from hyperfitting.export.reasons import notes_on, reasons_against
from hyperfitting.export.words import figures
from hyperfitting.generate.both_modes import BothModes
from hyperfitting.generate.texts import Decoded
from hyperfitting.measure.intervals import mean_estimate
from hyperfitting.models.checkpoint import Checkpoint
from hyperfitting.models.pair import make_pair
from hyperfitting.records.exported import LogitsCheck, TokensCheck, Verification, WeightsCheck
from hyperfitting.records.origins import TextEnd
from tests.conftest import random_rows
from tests.tiny import save_tiny, tiny_model

END = 0
QUANTISED = Kind(torch.float16, BOUNDS["Q4_K"], is_gguf=True)
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


@pytest.mark.parametrize("before", range(20))
def test_one_text_more_of_twenty_is_no_return_of_loops(before):
    def looping(count):
        return modes([LOOPS] * count + [VARIED] * (20 - count))

    def told(more):
        found = verification(looping(before), looping(before + more))
        return [each for each in reasons_against(found, QUANTISED) if "loops are back" in each]

    assert told(1) == []
    if before < 19:
        assert len(told(2)) == 1


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
    # Gemma's norms are kept in 32 bits, one more than they are: a rounding, and not one to 16 bits.
    shifted = check_weights([("w", weight)], {"w": weight + 1 - 1}, torch.float16)
    assert 0 < shifted.largest_difference < LARGEST_ROUNDING


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
    told = "; ".join(reasons_against(verification(run, export), QUANTISED))
    assert "loops are back: 10% of its texts, 0% of the run's" in told
    one = modes([VARIED] * 19 + [LOOPS])
    assert reasons_against(verification(run, one), QUANTISED) == [], "one text of twenty"
    assert reasons_against(verification(run, run), QUANTISED) == []


def test_less_variety_counts_where_it_is_told_from_chance():
    fewer = [*VARIED[:27], 1, 2, 3]
    run = modes([VARIED] * 20)
    [reason] = reasons_against(verification(run, modes([fewer] * 20)), QUANTISED)
    assert reason == "its texts are less varied: a TTR of 0.900, 1.000 of the run's"
    both = modes([fewer] * 10 + [VARIED] * 10)
    assert verification(both, modes([VARIED] * 10 + [fewer] * 10)).texts.change.ttr.value == 0


def test_endings_that_are_lost_are_named():
    natural = [[*VARIED, END]] * 4
    found = verification(modes([VARIED] * 4, natural), modes([VARIED] * 4, [VARIED] * 4))
    [reason] = reasons_against(found, QUANTISED)
    assert reason == "0% of its texts end themselves, 100% of the run's"


@pytest.mark.parametrize(
    ("kind", "top1", "distance", "refused"),
    [
        (Kind(torch.float16), 0.97, 0, ["another token at 3.0%"]),
        (QUANTISED, 0.97, 0.1, []),
        (QUANTISED, 0.7, 0.1, ["another token at 30.0%"]),
        (QUANTISED, 0.97, 0.3, ["in so few bits: by 30.0%"]),
        (Kind(torch.float16, BOUNDS["Q8_0"]), 0.97, 0.1, ["in so few bits: by 10.0%"]),
    ],
)
def test_fewer_bits_excuse_only_so_much(kind, top1, distance, refused):
    run = modes([VARIED] * 2)
    found = verification(run, run, top1=top1)
    weights = found.weights.model_copy(update={"largest_difference": distance, "equal": 0})
    told = reasons_against(found.model_copy(update={"weights": weights}), kind)
    assert len(told) == len(refused)
    assert all(words in reason for words, reason in zip(refused, told, strict=True))


def test_a_text_that_parts_at_a_near_tie_is_no_other_text():
    model = tiny_model()
    context = random_rows(1, 6)[0]
    with torch.no_grad():
        logits = model(torch.tensor([context])).logits[0, -1]
        first, second = logits.topk(2).indices.tolist()
        run, export = modes([[first, 1]]), modes([[second, 1]])
        assert near_ties(model, [context], run, export) == 0
        model.lm_head.weight[second] = model.lm_head.weight[first]
    assert near_ties(model, [context], run, export) == 1
    found = verification(run, export)
    exact = Kind(torch.float32)
    assert any("are other texts" in each for each in reasons_against(found, exact))
    tied = found.model_copy(update={"texts": found.texts.model_copy(update={"near_ties": 1})})
    assert not any("are other texts" in each for each in reasons_against(tied, exact))


def test_one_end_of_several_is_all_that_a_gguf_file_shows():
    run = modes([VARIED] * 2)
    two = [TextEnd(id=0, token="<a>", why=["x"]), TextEnd(id=1, token="<b>", why=["y"])]
    tokens = SAME.model_copy(update={"ends_before": two, "ends_after": two[:1]})
    found = verification(run, run).model_copy(update={"tokens": tokens})
    assert reasons_against(found, Kind(torch.float16)) == ["a text no longer ends with <b>"]
    assert reasons_against(found, Kind(torch.float16, is_gguf=True)) == []
    assert "<b> is not seen here" in notes_on(tokens, Kind(torch.float16, is_gguf=True))[0]
    none = tokens.model_copy(update={"ends_after": []})
    gone = found.model_copy(update={"tokens": none})
    assert "no longer ends with <a> or <b>" in reasons_against(gone, QUANTISED)[0]


def test_what_is_promised_is_told_by_the_files(tmp_path):
    folder = save_tiny(tmp_path / "model")
    assert kind_of(ModelConfig(name=str(folder))).is_exact
    tiny_model().bfloat16().save_pretrained(folder)
    assert kind_of(ModelConfig(name=str(folder))) == Kind(torch.bfloat16)


def test_a_rounding_is_called_one():
    text = modes([[1, 2, 3]])
    found = verification(text, text)

    def said(largest):
        weights = NO_WEIGHTS.model_copy(update={"tensors": 3, "largest_difference": largest})
        return figures(found.model_copy(update={"weights": weights}))[1]

    assert said(2e-7).endswith("1 of 3 tensors are what was trained, cast once, the others differ "
                               "by rounding alone")  # fmt: skip
    assert said(0.004).endswith("the others differ by at most 0.40%")


@pytest.mark.parametrize(
    ("types", "dtype", "bound"),
    [
        ({"F32"}, torch.float32, PLAIN),
        ({"F32", "F16"}, torch.float16, PLAIN),
        ({"F32", "BF16"}, torch.bfloat16, PLAIN),
        ({"F32", "Q8_0"}, torch.float32, BOUNDS["Q8_0"]),
        ({"F32", "Q4_K", "Q6_K"}, torch.float32, BOUNDS["Q4_K"]),  # as llama.cpp's q4_k_m is
        ({"F16", "Q6_K"}, torch.float16, BOUNDS["Q6_K"]),
        ({"F32", "Q8_0", "IQ2_XS"}, torch.float32, FEWER_BITS),
    ],
)
def test_a_gguf_file_promises_what_its_coarsest_type_holds(types, dtype, bound, monkeypatch):
    file = Checkpoint("m.gguf", ".", frozenset({"m.gguf"}), gguf="m.gguf")
    monkeypatch.setattr(kinds, "locate", lambda _: file)
    monkeypatch.setattr(kinds, "stored_types", lambda _: types)
    assert kind_of(ModelConfig(name="m.gguf")) == Kind(dtype, bound, is_gguf=True)
