"""Tiny models with a planted way to write: each token is followed by the next of its cycle."""

import math

import torch

from hyperfitting.diagnose import advice
from tests.tiny import byte_tokenizer, tiny_model

FIRST, COUNT = 1, 256  # the byte tokens


def as_if_it_knew_texts(monkeypatch):
    """Planted models know no text, which would be all that is said of them."""
    monkeypatch.setattr(advice, "NOTHING", math.inf)
    monkeypatch.setattr(advice, "WORSE", math.inf)


def cyclic(folder, *, cycle=COUNT, sharpness=1.0, offset=0.0, positions=128, **tokenizer):
    """A model whose greedy texts go round in cycles of `cycle` tokens, saved with its tokenizer.

    Nothing but the last token counts: attention and MLP add nothing. `sharpness` scales its logits.
    `offset` is added to every weight of the head: the same for all tokens, so it changes no choice
    in float32, and in 16 bits nothing is left of what tells them apart.
    """
    model = tiny_model("llama", max_position_embeddings=positions)
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        embedding = torch.nn.functional.normalize(model.model.embed_tokens.weight, dim=-1)
        model.model.embed_tokens.weight.copy_(embedding)
        head = torch.zeros_like(embedding)
        for token in range(COUNT):
            start = token - token % cycle
            follower = start + (token - start + 1) % min(cycle, COUNT - start)
            head[FIRST + follower] = embedding[FIRST + token]
        model.lm_head.weight.copy_(sharpness * head + offset)
    model.save_pretrained(folder)
    byte_tokenizer(**tokenizer).save_pretrained(folder)
    return folder
