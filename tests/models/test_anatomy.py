import pytest
from torch import nn

from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import anatomy, decoder_blocks, linear_modules
from hyperfitting.models.blocks import prefix_bytes
from tests.tiny import tiny_model

BLOCKS = {"llama": "model.layers", "qwen2": "model.layers", "gpt2": "transformer.h"}


@pytest.mark.parametrize("family", BLOCKS)
def test_blocks_are_found_in_order(family):
    model = tiny_model(family)
    blocks = decoder_blocks(model)
    assert list(blocks) == [f"{BLOCKS[family]}.{i}" for i in range(3)]
    assert all(model.get_submodule(name) is block for name, block in blocks.items())


@pytest.mark.parametrize(("family", "count"), [("llama", 7), ("qwen2", 7), ("gpt2", 4)])
def test_linear_layers_of_the_named_blocks_only(family, count):
    model = tiny_model(family)
    last = list(decoder_blocks(model))[-1]
    names = linear_modules(model, [last])
    assert len(names) == count
    assert all(name.startswith(f"{last}.") for name in names)


def test_block_1_is_not_mistaken_for_block_10():
    model = tiny_model(blocks=11)
    names = list(decoder_blocks(model))
    assert not any(".10." in name for name in linear_modules(model, [names[1]]))


def test_an_unknown_layout_names_the_model_type():
    model = tiny_model()
    model.model.layers = nn.Sequential(*model.model.layers)
    with pytest.raises(InputError, match="'llama' model"):
        decoder_blocks(model)


def test_the_bytes_of_a_prefix():
    model = tiny_model()
    parts = anatomy(model)
    first = sum(p.numel() for p in model.model.layers[0].parameters())
    embedding = model.model.embed_tokens.weight.numel()
    assert prefix_bytes(parts, 1) == 4 * (first + embedding)
    tied = tiny_model("qwen2")  # its embedding stays with the head
    first = sum(p.numel() for p in tied.model.layers[0].parameters())
    assert prefix_bytes(anatomy(tied), 1) == 4 * first
