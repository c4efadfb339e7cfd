"""A planted block is named, put in and taken out; what is the same in both models has no row."""

import pytest
import torch

from hyperfitting.config import ExplainConfig
from hyperfitting.explain.single_blocks import _in_words
from hyperfitting.models.anatomy import anatomy
from hyperfitting.models.pair import exchanged, make_pair, same_parts
from hyperfitting.records.controls.single_blocks import OneBlock
from hyperfitting.records.estimates import MeanEstimate
from tests.comparing import EXPLAIN, changed, comparison, dataset, explained, with_bias
from tests.tiny import tiny_model

CONFIG = EXPLAIN.model_copy(update={"swap_blocks": (0,)})


def rows_of(model_folder, tuned, config=CONFIG):
    compared = comparison(model_folder, tuned, data=dataset(6))
    _, found = explained(compared, config)
    single = found["single_blocks"]
    return single, {(row["change"], row["block"]): row for row in single.get("rows", [])}


def two_blocks():
    model = changed(block=0)
    torch.manual_seed(8)
    with torch.no_grad():
        for parameter in list(anatomy(model).blocks.values())[2].parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    return model


def test_the_only_block_that_differs_is_the_whole_change(model_folder):
    single, rows = rows_of(model_folder, changed)
    assert list(rows) == [("put_in", 2), ("taken_out", 2)]
    assert rows["put_in", 2]["top1_agreement_tuned"]["mean"] == 1
    assert rows["put_in", 2]["ttr"] == single["tuned"]["ttr"]
    assert rows["taken_out", 2]["ttr"] == single["original"]["ttr"]
    assert rows["taken_out", 2]["top1_agreement_tuned"]["mean"] == single["agreement"]["mean"] < 1
    assert single["in_words"].count("Block 2 of the") == 2


def test_of_two_blocks_the_one_that_changed_most_is_named(model_folder):
    single, rows = rows_of(model_folder, two_blocks)
    assert sorted(rows) == [(c, b) for c in ("put_in", "taken_out") for b in (1, 3)]
    mean = {key: row["top1_agreement_tuned"]["mean"] for key, row in rows.items()}
    assert mean["put_in", 1] > mean["put_in", 3]
    assert mean["taken_out", 1] < mean["taken_out", 3]
    assert single["in_words"].count("Block 1 of the") == 2


def test_a_head_is_named_too(model_folder):
    single, rows = rows_of(model_folder, lambda: with_bias(77, 6.0))
    assert list(rows) == [("put_in", None), ("taken_out", None)]
    assert rows["put_in", None]["top1_agreement_tuned"]["mean"] == 1
    assert "Final norm and head of the tuned model alone" in single["in_words"]


def test_a_block_that_raises_nothing_is_not_said_to():
    def row(change, block, agreement):
        value = MeanEstimate(value=agreement, low=None, high=None, n=4, reason=None)
        return OneBlock(
            ttr=value, bigram_repetition=value, looped=value, change=change, block=block,
            top1_agreement_tuned=value,
        )  # fmt: skip

    said = _in_words([row("put_in", 1, 0.255), row("taken_out", 1, 1.0)], 0.26)
    assert "No single block of the tuned model, put into the original, raises that" in said
    assert "No single block of the original, put into the tuned model, changes its choices" in said
    said = _in_words([row("put_in", 1, 0.3), row("taken_out", 1, 0.9)], 0.26)
    assert "raises that most: to 0.300" in said
    assert "stay at 0.900" in said


def test_no_number_of_blocks_is_no_setting():
    with pytest.raises(ValueError, match="swap_blocks"):
        ExplainConfig(swap_blocks=())


def test_equal_models_have_no_rows_and_the_setting_leaves_it_out(model_folder):
    single, rows = rows_of(model_folder, tiny_model)
    assert not rows
    assert single["in_words"].startswith("The models do not differ")
    off = CONFIG.model_copy(update={"swap_contexts": 0})
    assert rows_of(model_folder, changed, off) == ({}, {})


def test_a_hybrid_is_what_its_weights_say_and_everything_is_put_back():
    original, tuned = tiny_model(), two_blocks()
    pair = make_pair(original, tuned)
    assert same_parts(pair.original, pair.tuned) == ({1}, True)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        before = original(ids).logits
        with exchanged(original, tuned, [2], ends=False) as hybrid:
            found = hybrid(ids).logits
        by_hand = tiny_model()
        by_hand.model.layers[2].load_state_dict(two_blocks().model.layers[2].state_dict())
        assert torch.equal(found, by_hand(ids).logits)
        assert torch.equal(original(ids).logits, before)
