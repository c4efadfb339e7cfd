"""Beam search, by transformers."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from hyperfitting.generate.decode import Decoded
from hyperfitting.models.anatomy import base_of
from hyperfitting.progress import Stage


@contextmanager
def _without_own_settings(model: Any) -> Iterator[None]:
    """Hide the checkpoint's generation config, which would fill whatever is left open."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


@torch.no_grad()
def beam_search(
    model: Any,
    contexts: Sequence[Sequence[int]],
    *,
    beams: int,
    length_penalty: float = 1.0,
    max_new_tokens: int,
    banned: Sequence[int] = (),
    ends: Collection[int] = (),
    batch_size: int = 32,
    stage: Stage | None = None,
) -> list[Decoded]:
    """Continue every context by the best of `beams` continuations: transformers' `generate`.

    Score: sum of ln p divided by length^length_penalty, p over the tokens not `banned` (by its
    `renormalize_logits`; otherwise banned tokens keep their mass). Ties are not counted (0). At
    most `batch_size` rows, beams counted, run together (or those of one text). Deterministic.
    For `banned` and `ends` see `decode`.
    """
    decoded: list[Decoded] = []
    texts = max(1, batch_size // beams)
    model = base_of(model)  # an adapter stays active in it
    config = GenerationConfig(
        num_beams=beams,
        length_penalty=length_penalty,
        do_sample=False,
        max_new_tokens=max_new_tokens,
        suppress_tokens=sorted(banned) or None,
        renormalize_logits=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=0,  # masked before a context, cut after an end
        bos_token_id=None,
    )
    for start in range(0, len(contexts), texts):
        batch = contexts[start : start + texts]
        width = max(map(len, batch))
        rows = [[0] * (width - len(row)) + list(row) for row in batch]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in batch]
        with _without_own_settings(model):
            output = model.generate(
                input_ids=torch.tensor(rows, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=config,
            )
        decoded += [Decoded(_until_end(ids, ends), 0) for ids in output[:, width:].tolist()]
        if stage:
            stage.update(len(decoded))
    return decoded


def _until_end(ids: list[int], ends: Collection[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    return ids
