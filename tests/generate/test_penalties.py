"""Additive and normalised penalties against the formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from hyperfitting.generate.penalties import (
    FrequencyPenalty,
    NormalisedRepetitionPenalty,
    PresencePenalty,
    repetition_penalty,
)
from hyperfitting.generate.run import chooser
from hyperfitting.generate.specs import parse_decoder

LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=6, max_size=6)
SEEN = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(logits=LOGITS, seen=SEEN, amount=st.floats(0.1, 3))
def test_additive_penalties_are_their_formulas(logits, seen, amount):
    ids, scores = torch.tensor([seen]), torch.tensor([logits])
    frequency = [z - amount * seen.count(v) for v, z in enumerate(logits)]
    presence = [z - amount * (v in seen) for v, z in enumerate(logits)]
    assert FrequencyPenalty(amount)(ids, scores)[0].tolist() == pytest.approx(frequency, abs=1e-4)
    assert PresencePenalty(amount)(ids, scores)[0].tolist() == pytest.approx(presence, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(logits=LOGITS, seen=SEEN, penalty=st.floats(1, 3), zero=st.floats(-50, 50))
def test_the_normalised_penalty_is_its_formula_at_any_zero_point(logits, seen, penalty, zero):
    raw = np.array(logits, dtype=np.float64)
    logp = raw - raw.max() - np.log(np.exp(raw - raw.max()).sum())
    expected = [p * penalty if v in seen else p for v, p in enumerate(logp)]
    ids = torch.tensor([seen])
    for moved in (0.0, zero):
        scores = torch.tensor([logits], dtype=torch.float64) + moved
        found = NormalisedRepetitionPenalty(penalty)(ids, scores)[0]
        assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_the_usual_penalty_depends_on_the_zero_point_and_the_others_do_not():
    logits, seen = torch.tensor([[2.0, 1.5, -1.0]]), torch.tensor([[0]])

    def choice(process, zero):
        return int(process(seen, logits + zero).argmax())

    usual = repetition_penalty(1.5)
    assert isinstance(usual, RepetitionPenaltyLogitsProcessor)
    assert choice(usual, 0) == 1
    assert choice(usual, -2.0) == 0  # the same distribution: 0, -.5, -3
    for other in (repetition_penalty(1.5, 1), FrequencyPenalty(0.3), PresencePenalty(0.3)):
        assert len({choice(other, zero) for zero in (0, 10, -2, -30)}) == 1


def test_padding_is_no_token_that_was_seen():
    logits = torch.tensor([[1.0, 0.5, 0.4]] * 2)
    seen = torch.tensor([[3, 3, 0], [0, 0, 1]])  # 3 is the padding of a vocabulary of 3
    for text in ("frequency:0.7", "presence:0.7", "repetition_penalty:3,normalised=1"):
        choose = chooser(parse_decoder(text))
        alone = choose.filtered(logits[:1], seen[:1, 2:])
        assert torch.allclose(choose.filtered(logits, seen)[0], alone[0])


def test_banned_tokens_stay_banned_under_every_penalty():
    logits = torch.tensor([[1.0, -torch.inf, 0.4]])
    seen = torch.tensor([[1, 1, 2]])
    for process in (FrequencyPenalty(1), PresencePenalty(1), NormalisedRepetitionPenalty(1.2)):
        found = process(seen, logits)
        assert torch.isneginf(found).tolist() == [[False, True, False]]
