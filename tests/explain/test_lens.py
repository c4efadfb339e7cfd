"""The lens against transformers' own hidden states; a planted last block is the last to speak."""

import numpy as np
import pytest
import torch

from hyperfitting.explain.lens import BEYOND, NOTHING
from tests.comparing import NO_SWAP, changed, comparison, dataset, explained
from tests.tiny import tiny_model

CONFIG = NO_SWAP.model_copy(update={"only": ("lens",)})
COUNT = 8


def found_of(folder, tuned, config=CONFIG, data=None):
    _, found = explained(comparison(folder, tuned, data=data or dataset(COUNT)), config)
    return found["lens"]


@torch.no_grad()
def lenses(model):
    """What every layer says of the positions that are looked at, [L, N K, V]."""
    rows = torch.tensor(dataset(COUNT).contexts.rows())
    answer = model(rows, output_hidden_states=True)
    # The last state is after the final norm already.
    states = [model.model.norm(state) for state in answer.hidden_states[:-1]]
    states.append(answer.hidden_states[-1])
    return torch.stack([model.lm_head(state)[:, 5:-1].flatten(0, 1) for state in states])


def rank(logits, token):
    return 1 + int((logits > logits[token]).sum())


@pytest.mark.parametrize("block", [0, 2])
def test_ranks_and_passing_are_those_of_a_loop(model_folder, block):
    found = found_of(model_folder, lambda: changed(block, scale=1.0))
    one, two = lenses(tiny_model()), lenses(changed(block, scale=1.0))
    chosen, before = two[-1].argmax(-1), one[-1].argmax(-1)
    places = [p for p in range(len(chosen)) if rank(one[-1, p], chosen[p]) > BEYOND]
    assert found["promoted"] == found["positions"] == len(places) > 10
    assert [row["layer"] for row in found["rows"]] == [0, 1, 2, 3]
    passed = []
    for p in places:
        above = [bool(two[layer, p, chosen[p]] >= two[layer, p, before[p]]) for layer in range(4)]
        passed.append(next(layer for layer in range(4) if all(above[layer:])))
    for layer, row in enumerate(found["rows"]):
        for name, model in (("rank_tuned", two), ("rank_original", one)):
            ranks = [rank(model[layer, p], chosen[p]) for p in places]
            assert row[name]["value"] == np.median(ranks)
        assert row["passed"]["value"] == pytest.approx(np.mean(np.array(passed) <= layer))
    assert found["last_block"]["value"] == pytest.approx(np.mean(np.array(passed) == 3))
    assert found["rows"][-1]["rank_tuned"]["value"] == found["rows"][-1]["passed"]["value"] == 1


def test_of_a_planted_last_block_the_layers_before_say_the_same(model_folder):
    found = found_of(model_folder, lambda: changed(2, scale=1.0))
    for row in found["rows"][:-1]:
        assert row["rank_tuned"] == row["rank_original"]
    assert found["rows"][-1]["rank_original"]["value"] > BEYOND


def test_at_most_so_many_positions_are_looked_at(model_folder):
    few = CONFIG.model_copy(update={"lens_positions": 5})
    found = found_of(model_folder, lambda: changed(scale=1.0), few)
    assert found["promoted"] > found["positions"] == 5
    assert found == found_of(model_folder, lambda: changed(scale=1.0), few)


def test_texts_of_several_lengths_are_read_at_their_ends(model_folder):
    data = dataset(COUNT)
    for n in (1, 4):
        data.contexts.contexts[n] = data.contexts.contexts[n][2:]
    found = found_of(model_folder, lambda: changed(scale=1.0), data=data)
    assert found["rows"][-1]["rank_tuned"]["value"] == 1
    assert found["rows"][-1]["passed"]["value"] == 1


def test_without_promoted_words_there_is_nothing_to_look_at(model_folder):
    found = found_of(model_folder, tiny_model)
    assert (found["rows"], found["reason"], found["promoted"]) == ([], NOTHING, 0)
    assert NOTHING in found["in_words"]
