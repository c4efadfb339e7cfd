"""Rates by fifths of the original's entropy, against a loop; a planted rise is found."""

import numpy as np
import pytest
import torch

from hyperfitting.explain.overrides import NO_ENTROPY, in_words, rise_of
from hyperfitting.records.controls.overrides import Part
from hyperfitting.records.estimates import Estimate, undefined
from tests.comparing import NO_SWAP, changed, comparison, dataset, explained
from tests.tiny import tiny_model

CONFIG = NO_SWAP.model_copy(update={"only": ("overrides",)})
RATE = Estimate(value=0.4, low=0.3, high=0.5, n=8)
PART = Part(low_nats=0.0, high_nats=1.0, positions=8, overridden=RATE, drawn=RATE)


def found_of(folder, tuned, count=12):
    _, found = explained(comparison(folder, tuned, data=dataset(count)), CONFIG)
    assert set(found) == {"overrides"}
    return found["overrides"]


@torch.no_grad()
def by_hand(count=12):
    """Entropy, whether the choice differs and whether a draw would, of every position."""
    rows = torch.tensor(dataset(count).contexts.rows())
    one, two = (model(rows).logits[:, 5:-1].double() for model in (tiny_model(), changed()))
    p = one.softmax(-1)
    return (-(p * p.log()).sum(-1)).ravel(), (one.argmax(-1) != two.argmax(-1)).ravel(), (
        1 - p.amax(-1)
    ).ravel()  # fmt: skip


def test_rates_are_those_of_a_loop(model_folder):
    found = found_of(model_folder, changed)
    entropy, differs, drawn = by_hand()
    order = torch.argsort(entropy)
    assert sum(row["positions"] for row in found["rows"]) == len(order)
    start = 0
    for row in found["rows"]:
        places = order[start : start + row["positions"]]
        start += row["positions"]
        assert row["overridden"]["value"] == pytest.approx(float(differs[places].double().mean()))
        assert row["drawn"]["value"] == pytest.approx(float(drawn[places].mean()), abs=1e-5)
        assert row["low_nats"] == pytest.approx(float(entropy[places[0]]), abs=1e-4)
        assert row["high_nats"] == pytest.approx(float(entropy[places[-1]]), abs=1e-4)
    rates = [row["overridden"]["value"] for row in found["rows"]]
    assert found["rise"]["value"] == pytest.approx(rates[-1] - rates[0])


def test_a_planted_rise_is_found_and_said():
    """Two of ten positions where it is sure, eight where it is not, and the reverse."""
    count_NQ = np.full((20, 5), 10.0)
    sum_NQ = np.tile([2.0, 5, 5, 5, 8], (20, 1)) + np.random.default_rng(0).integers(-1, 2, (20, 5))
    rise = rise_of(sum_NQ, count_NQ, CONFIG)
    assert rise.value == pytest.approx((sum_NQ[:, 4].sum() - sum_NQ[:, 0].sum()) / 200)
    assert 0.4 < rise.low < rise.value < rise.high < 0.8
    fall, flat = (rise_of(x, count_NQ, CONFIG) for x in (sum_NQ[:, ::-1], sum_NQ[:, [1, 2, 3, 2]]))
    for found, ending in ((rise, "more where"), (fall, "less where"), (flat, "is not shown")):
        assert ending in in_words([PART, PART], found)
    assert in_words([PART], undefined("none")).endswith("0.40 and 0.40.")


def test_a_draw_without_positions_is_left_out():
    count_NQ = np.array([[4.0, 0], [0, 4]] * 4)
    rise = rise_of(count_NQ * [0.25, 0.75], count_NQ, CONFIG)
    assert (rise.low, rise.value, rise.high) == (0.5, 0.5, 0.5)


def test_a_model_overrides_nothing_of_itself_and_one_context_has_no_interval(model_folder):
    found = found_of(model_folder, tiny_model)
    assert {row["overridden"]["value"] for row in found["rows"]} == {0.0}
    assert found["rise"]["value"] == 0
    alone = found_of(model_folder, changed, 1)
    assert all(row["overridden"]["low"] is None for row in alone["rows"])
    assert alone["rise"]["reason"] == "one context has no interval"


def test_without_entropies_nothing_is_counted(model_folder, monkeypatch):
    monkeypatch.setattr(
        "hyperfitting.compare.scores.prediction_entropy_nats",
        lambda logits: torch.full(logits.shape[:-1], np.nan),
    )
    found = found_of(model_folder, changed)
    assert (found["rows"], found["reason"]) == ([], NO_ENTROPY)
