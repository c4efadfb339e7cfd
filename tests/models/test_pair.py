"""Two models side by side: equal to each alone, shared blocks once, swaps named by blocks."""

import pytest
import torch

from hyperfitting.errors import InputError
from hyperfitting.generate.decode import decode
from hyperfitting.models.anatomy import anatomy
from hyperfitting.models.interface import logits_of
from hyperfitting.models.pair import exchanged, make_pair, paired_logits, share_equal_weights
from hyperfitting.models.proof import require_causal
from hyperfitting.train.lora import add_adapters
from tests.conftest import random_rows
from tests.tiny import FAMILIES, tiny_model

ROWS, KEPT = 5, 6


def changed(family="llama", block=1, blocks=3, scale=0.3):
    """A copy of the tiny model in which one block differs."""
    model = tiny_model(family, blocks=blocks)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in list(anatomy(model).blocks.values())[block].parameters():
            parameter += scale * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_layers_are_those_of_each_model_alone(family):
    original, tuned = tiny_model(family), changed(family)
    rows = random_rows(ROWS, 14)
    alone = []
    for model in (original, tuned):
        model.config.tie_last_hidden_states = False
        with torch.no_grad():
            states = model(torch.tensor(rows), output_hidden_states=True).hidden_states
            alone.append((logits_of(model, torch.tensor(rows), KEPT + 1)[:, :-1], states))
    pair = make_pair(original, tuned)
    assert pair.shared_blocks == 1
    seen = []
    found = list(paired_logits(pair, rows, KEPT, observe=seen.append))
    assert [each.row for each in found] == list(range(ROWS))
    for each in found:
        torch.testing.assert_close(each.original_KV, alone[0][0][each.row], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(each.tuned_KV, alone[1][0][each.row], atol=1e-5, rtol=1e-4)
        assert each.target_K.tolist() == rows[each.row][-KEPT:]
    assert [(s.layer, s.is_normed) for s in seen] == [(i, False) for i in range(4)] + [(3, True)]
    for side, name in enumerate(("original_NTD", "tuned_NTD")):
        for states in seen[:3]:  # the last of transformers' is normed or not, by version
            expected = alone[side][1][states.layer]
            torch.testing.assert_close(getattr(states, name), expected, atol=1e-5, rtol=1e-4)
    assert seen[1].original_NTD is seen[1].tuned_NTD, "block 0 is shared and ran once"
    assert not torch.equal(seen[2].original_NTD, seen[2].tuned_NTD)


def test_shared_blocks_run_once():
    original, tuned = tiny_model(), changed(block=2)
    calls = []
    pair = make_pair(original, tuned)
    require_causal(original)  # once for each model
    require_causal(tuned)
    for name, model in (("original", original), ("tuned", tuned)):
        for index, block in enumerate(anatomy(model).blocks.values()):
            block.register_forward_hook(lambda *_, key=(name, index): calls.append(key))
    list(paired_logits(pair, random_rows(2, 9), 4))
    ran = [key for key in calls if key[0] == "tuned"]
    assert ran == [("tuned", 2)], "only the block that differs"
    # The original once more, on one batch, to learn the blocks' masks.
    assert [calls.count(("original", index)) for index in range(3)] == [2, 2, 2]


def test_a_model_beside_itself_is_the_same_tensor():
    original, copy = tiny_model(), tiny_model()
    pair = make_pair(original, copy)
    assert pair.shared_blocks == 3
    for each in paired_logits(pair, random_rows(3, 9), 4):
        assert each.original_KV is each.tuned_KV


def test_equal_weights_are_kept_once():
    original, tuned = tiny_model(), changed()
    expected = logits_of(changed(), torch.tensor(random_rows(2, 9)), 3)
    blocks = list(anatomy(tuned).blocks.values())
    changed_bytes = sum(p.numel() * 4 for p in blocks[1].parameters())
    total = sum(p.numel() * 4 for p in tuned.parameters())
    assert share_equal_weights(original, tuned) == total - changed_bytes
    assert torch.equal(logits_of(tuned, torch.tensor(random_rows(2, 9)), 3), expected)
    assert share_equal_weights(original, tuned) == 0, "nothing is left to share"


def test_an_adapter_on_the_last_block_shares_the_rest():
    from hyperfitting.config import LoraConfig

    original = tiny_model()
    targets = [n for n, m in original.named_modules() if isinstance(m, torch.nn.Linear)]
    targets = [n for n in targets if ".layers.2." in n]
    tuned = add_adapters(tiny_model(), targets, LoraConfig(rank=2), 0)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    pair = make_pair(original, tuned)
    assert pair.shared_blocks == 2
    rows = random_rows(3, 9)
    for each in paired_logits(pair, rows, 4):
        ids = torch.tensor([rows[each.row]])
        torch.testing.assert_close(each.tuned_KV, logits_of(tuned, ids, 5)[0, :-1])
        torch.testing.assert_close(each.original_KV, logits_of(original, ids, 5)[0, :-1])
        assert not torch.allclose(each.tuned_KV, each.original_KV)


def test_learned_positions_count_as_embeddings():
    original, tuned = tiny_model("gpt2"), tiny_model("gpt2")
    with torch.no_grad():
        tuned.transformer.wpe.weight += 1.0
    assert make_pair(original, tuned).shared_blocks == 0
    seen = []
    list(paired_logits(make_pair(original, tuned), random_rows(2, 9), 4, observe=seen.append))
    assert not torch.equal(seen[0].original_NTD, seen[0].tuned_NTD)


def test_rows_of_different_length_keep_their_numbers():
    pair = make_pair(tiny_model(), changed())
    rows = [random_rows(1, length, seed=length)[0] for length in (9, 12, 9)]
    found = {each.row: each for each in paired_logits(pair, rows, 4)}
    assert set(found) == {0, 1, 2}
    for index, row in enumerate(rows):
        expected = logits_of(pair.tuned, torch.tensor([row]), 5)[0, :-1]
        torch.testing.assert_close(found[index].tuned_KV, expected)


def test_a_model_of_no_known_family_is_run_as_a_whole(monkeypatch):
    from hyperfitting.models import anatomy as module

    original, tuned = tiny_model(), changed()
    rows = random_rows(3, 9)
    expected = {e.row: e.tuned_KV for e in paired_logits(make_pair(original, tuned), rows, 4)}
    monkeypatch.setattr(module, "FAMILIES", {})
    pair = make_pair(original, tuned)
    assert not pair.is_known_family
    for each in paired_logits(pair, rows, 4):
        torch.testing.assert_close(each.tuned_KV, expected[each.row])
    with pytest.raises(InputError, match="families"):
        list(paired_logits(pair, rows, 4, observe=print))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: tiny_model("qwen2"), "model_type: llama and qwen2"),
        (lambda: tiny_model(blocks=2), "num_hidden_layers: 3 and 2"),
        (lambda: tiny_model(intermediate_size=20), "intermediate_size"),
    ],
)
def test_other_architectures_are_refused(other, message):
    with pytest.raises(InputError, match=message):
        make_pair(tiny_model(), other())


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_a_swap_takes_the_upper_blocks_and_puts_everything_back(family):
    original, tuned = tiny_model(family), changed(family, block=1)
    contexts = random_rows(4, 8)
    before, after = (decode(m, contexts, max_new_tokens=10) for m in (original, tuned))
    assert before != after
    make_pair(original, tuned)
    for blocks, expected in ((0, before), (1, before), (2, after), (3, after)):
        with exchanged(original, tuned, range(3 - blocks, 3), ends=True) as hybrid:
            assert decode(hybrid, contexts, max_new_tokens=10) == expected
        with exchanged(tuned, original, range(3 - blocks, 3), ends=True) as hybrid:
            other = before if expected is after else after
            assert decode(hybrid, contexts, max_new_tokens=10) == other
    assert decode(original, contexts, max_new_tokens=10) == before
    assert decode(tuned, contexts, max_new_tokens=10) == after
