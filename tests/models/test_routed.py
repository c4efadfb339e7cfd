"""Hybrids that write together write what each writes alone, and everything is put back."""

import pytest
import torch

from hyperfitting.generate.decode import decode
from hyperfitting.generate.feed import feed_of
from hyperfitting.models.pair import make_pair
from hyperfitting.models.routed import HybridParts, can_route, routed
from hyperfitting.train.lora import add_adapters
from tests.conftest import random_rows
from tests.tiny import FAMILIES, tiny_model

NUM_BLOCKS, LENGTH = 3, 12
HYBRIDS = [
    HybridParts(embedding, frozenset(blocks), ends)
    for embedding in (False, True)
    for blocks in ((), (0,), (1, 2), (0, 1, 2))
    for ends in (False, True)
]


def everything_changed(family):
    model = tiny_model(family, blocks=NUM_BLOCKS)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * parameter.std(correction=0) * torch.randn_like(parameter)
    return model


def written(model, contexts, feed=None):
    found = decode(model, contexts, max_new_tokens=LENGTH, batch_size=99, feed=feed)
    return [text.ids for text in found]


def pair_of(family):
    original, tuned = tiny_model(family, blocks=NUM_BLOCKS), everything_changed(family)
    if hasattr(original, "transformer"):  # positions belong to no part
        tuned.transformer.wpe.weight = original.transformer.wpe.weight
    return make_pair(original, tuned)


@pytest.mark.parametrize("family", FAMILIES)
def test_together_they_write_what_each_writes_alone(family):
    pair = pair_of(family)
    assert can_route(pair)
    contexts = random_rows(2, 7)
    alone = []
    for hybrid in HYBRIDS:
        with hybrid.made(pair) as model:
            alone.append(written(model, contexts))
    feed = feed_of(pair.original)
    rows = [(hybrid, context) for hybrid in HYBRIDS for context in contexts]
    with routed(pair, [hybrid for hybrid, _ in rows]) as model:
        together = written(model, [context for _, context in rows], feed)
    assert together == [ids for texts in alone for ids in texts]
    assert len({tuple(ids) for ids in together}) > len(HYBRIDS), "hybrids write different texts"
    assert alone[0] == written(pair.original, contexts)
    assert alone[-1] == written(pair.tuned, contexts)


def test_logits_are_those_of_a_model_put_together_by_hand():
    pair = pair_of("llama")
    ids = torch.tensor(random_rows(1, 9))
    hybrid = HybridParts(embedding=True, blocks=frozenset({1}), ends=False)
    by_hand = tiny_model("llama", blocks=NUM_BLOCKS)
    by_hand.model.embed_tokens.weight = pair.tuned.model.embed_tokens.weight
    by_hand.model.layers[1] = pair.tuned.model.layers[1]
    with torch.no_grad():
        expected = by_hand(ids).logits
        with hybrid.made(pair) as model:
            assert torch.equal(model(ids).logits, expected)
        with routed(pair, [hybrid]) as model:
            assert torch.equal(model(ids).logits, expected)
    assert hybrid.head_of(pair) is pair.original


def test_an_adapter_is_routed_and_everything_is_put_back():
    original = tiny_model("llama", blocks=NUM_BLOCKS)
    base = tiny_model("llama", blocks=NUM_BLOCKS)
    names = [f"model.layers.{i}.mlp.up_proj" for i in range(NUM_BLOCKS)]
    from hyperfitting.config import LoraConfig

    tuned = add_adapters(base, names, LoraConfig(rank=4, alpha=64), seed=1)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    pair = make_pair(original, tuned)
    contexts = random_rows(3, 6)
    before = (written(original, contexts), written(tuned, contexts))
    modules = dict(original.named_modules())
    feed = feed_of(original)
    whole = HybridParts(embedding=True, blocks=frozenset(range(NUM_BLOCKS)), ends=True)
    none = HybridParts(embedding=False, blocks=frozenset(), ends=False)
    with routed(pair, [none] * 3 + [whole] * 3) as model:
        found = written(model, contexts * 2, feed)
    assert (found[:3], found[3:]) == before
    assert before[0] != before[1]
    with pytest.raises(KeyError), routed(pair, [whole]):
        raise KeyError
    assert dict(original.named_modules()) == modules
    assert (written(original, contexts), written(tuned, contexts)) == before


def test_only_what_differs_in_parts_alone_is_routed():
    assert can_route(pair_of("llama"))
    gpt2 = make_pair(tiny_model("gpt2"), everything_changed("gpt2"))
    assert not can_route(gpt2), "its positions differ, and belong to no part"
    wider = make_pair(tiny_model("llama"), tiny_model("llama", vocab_size=400))
    assert not can_route(wider)
    slower = tiny_model("llama")
    slower.config.rope_parameters = {**slower.config.rope_parameters, "rope_theta": 77.0}
    assert not can_route(make_pair(tiny_model("llama"), slower))


def test_other_rows_than_the_hybrids_are_refused():
    pair = pair_of("llama")
    with routed(pair, HYBRIDS[:2]) as model, pytest.raises(AssertionError, match="other rows"):
        model(torch.tensor(random_rows(3, 5)))
    assert pair.original(torch.tensor(random_rows(1, 5))).logits.isfinite().all()
