"""The decoder that ends repeating texts, against greedy texts and the rule on each of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperfitting.errors import InputError
from hyperfitting.evaluate.decoding import requested_decoders, stopped_texts
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import parse_decoder
from hyperfitting.generate.stop import RepetitionStop
from hyperfitting.generate.texts import Decoded
from hyperfitting.measure.loops import StopRule
from tests.comparing import EVALUATE
from tests.conftest import random_rows

SPEC = parse_decoder("stop:6,min_pattern_size=1,min_count=3")
RULE = StopRule(6, 1, 3)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 1), min_size=25, max_size=25), min_size=1, max_size=3),
    low=st.integers(1, 3), more=st.integers(0, 4), count=st.integers(2, 4),
)  # fmt: skip
def test_it_stops_where_the_rule_first_holds(rows, low, more, count):
    rule = StopRule(low + more, low, count)
    stop, first = RepetitionStop(rule), [None] * len(rows)
    for end in range(1, 26):
        for n, stops in enumerate(stop(torch.tensor(rows)[:, :end]).tolist()):
            if stops and first[n] is None:
                first[n] = end
    assert first == [rule.first_stop(row) for row in rows]


def test_texts_are_the_greedy_ones_up_to_there(model):
    contexts, options = random_rows(5, 7), {"max_new_tokens": 60, "ends": [1]}
    whole = run_decoder(parse_decoder("greedy"), model, contexts, **options)
    found = run_decoder(SPEC, model, contexts, batch_size=2, **options)
    stops = [RULE.first_stop(text.ids) for text in whole]
    assert any(stops)
    assert [text.ids for text in found] == [
        text.ids[:stop] for text, stop in zip(whole, stops, strict=True)
    ]


def test_texts_of_fixed_length_are_greedy_ones(model):
    contexts = random_rows(3, 7)
    whole = run_decoder(parse_decoder("greedy"), model, contexts, max_new_tokens=60)
    assert run_decoder(SPEC, model, contexts, max_new_tokens=60) == whole


def test_what_it_did_is_counted():
    whole = [Decoded([1, 2] * 10, 0), Decoded([*range(20)], 0)]
    written = [Decoded([1, 2] * 3, 0), whole[1]]
    human = [[1, 2, 3, 4], [7, 7, 7, 8], [1, 2, 1, 2]]
    found = stopped_texts(SPEC, written, whole, human)
    assert (found.share, found.n) == (0.5, 2)
    assert found.tokens_saved == pytest.approx(14 / 40)
    assert found.human_share == pytest.approx(1 / 3)


def test_sizes_without_a_pattern_are_refused(model):
    text = "stop:3,min_pattern_size=4"
    message = "min_pattern_size of the decoder stop is 4, max_pattern_size 3"
    with pytest.raises(InputError, match=message):
        run_decoder(parse_decoder(text), model, [[3]], max_new_tokens=2, ends=[1])
    with pytest.raises(InputError, match=message):
        requested_decoders(EVALUATE.model_copy(update={"decoders": text}))
