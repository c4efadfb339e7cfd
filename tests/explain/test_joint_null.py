"""A planted temperature and shift are the change, every text of it; another block is not."""

import pytest

from hyperfitting.explain.joint_null import ALONE, FORBIDDEN, NOTHING, AffineObserver
from hyperfitting.explain.static_bias import halves
from tests.comparing import NO_SWAP, changed, comparison, dataset, explained, sharper, with_bias
from tests.tiny import tiny_model

TOKEN = 77


def sharper_with_bias():
    model = with_bias(TOKEN, 6.0)
    model.lm_head.weight.data *= 2.0
    return model


def rows_of(model_folder, tuned, count=12):
    compared = comparison(model_folder, tuned, data=dataset(count))
    explanation, found = explained(compared, NO_SWAP)
    return found["joint_null"], {row["kind"]: row for row in found["joint_null"]["rows"]}


def test_a_planted_temperature_and_shift_write_the_tuned_models_texts(model_folder):
    found, rows = rows_of(model_folder, sharper_with_bias)
    joint = rows["joint"]
    assert joint["share_explained"]["value"] == pytest.approx(1, abs=1e-6)
    assert joint["temperatures"] == pytest.approx([0.5, 0.5], abs=1e-6)
    assert joint["equals_tuned"] == joint["top1_agreement_tuned"]["mean"] == 1
    assert joint["ttr"] == found["tuned"]["ttr"]
    assert "greedy texts are the tuned model's, every one" in found["in_words"]
    assert rows["temperature"]["ttr"] == found["original"]["ttr"]
    for kind in ("temperature", "shift"):
        assert rows[kind]["share_explained"]["value"] < 0.99
    assert "explain 100 % of the change" in found["in_words"]


def test_a_planted_temperature_is_one(model_folder):
    found, rows = rows_of(model_folder, sharper)
    assert rows["temperature"]["share_explained"]["value"] == pytest.approx(1, abs=1e-9)
    assert rows["temperature"]["temperatures"] == pytest.approx([0.5, 0.5])
    assert found["agreement_without"]["mean"] == 1


def test_another_block_is_neither(model_folder):
    found, rows = rows_of(model_folder, changed)
    share = rows["joint"]["share_explained"]
    assert share["low"] < share["value"] < share["high"]
    assert share["value"] < 0.9
    assert rows["joint"]["equals_tuned"] < 1
    assert "TTR of" in found["in_words"] or "no gain" in found["in_words"].lower()


@pytest.mark.parametrize(
    ("tuned", "count", "reason"), [(tiny_model, 6, NOTHING), (changed, 1, ALONE)]
)
def test_without_a_change_or_another_half_nothing_is_fitted(model_folder, tuned, count, reason):
    found, rows = rows_of(model_folder, tuned, count)
    assert not rows
    assert found["reason"] == reason
    assert reason in found["in_words"]


def test_logits_of_minus_infinity_have_no_fit(model_folder):
    def forbidding():
        return with_bias(TOKEN, -float("inf"))

    found, rows = rows_of(model_folder, forbidding)
    assert (found["reason"], rows) == (FORBIDDEN, {})
    assert AffineObserver(5, halves(3, 0)).sums[0].positions == 0
