"""What a loaded model's forward pass takes, and how wide its answers are: asked of the model.

Shape letters: B rows of a batch, T tokens of a row, V vocabulary.
"""

import inspect
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.types import CausalLM

TWO_ROPES = ("longrope", "su")  # "su" is its name in older configs
ORIGINAL_POSITIONS = "original_max_position_embeddings"


def accepted_arguments(model: CausalLM) -> set[str]:
    """Names that the model's forward pass takes, also beneath an adapter.

    Others may be swallowed by a `**kwargs` unseen, so only these are given to it.
    """
    return set(inspect.signature(base_of(model).forward).parameters)


def logits_of(model: CausalLM, ids_BT: Tensor, keep: int) -> Tensor:
    """The model's own final float32 logits at the last `keep` positions, [B, keep, V].

    Computed without a cache, mask or positions.

    Raises:
        ValueError: the model answers with something else than logits for every token.
    """
    arguments = accepted_arguments(model)
    options: dict[str, Any] = {"use_cache": False} if "use_cache" in arguments else {}
    if "logits_to_keep" in arguments:
        options["logits_to_keep"] = keep
    logits_BKV: Tensor = model(input_ids=ids_BT, **options).logits[:, -keep:]
    if logits_BKV.ndim != 3 or logits_BKV.shape[:2] != (len(ids_BT), keep):
        raise ValueError(
            f"its logits have the shape {tuple(logits_BKV.shape)} for {len(ids_BT)} rows and "
            f"{keep} tokens"
        )
    return logits_BKV.float()


def vocabulary_rows(model: CausalLM) -> int:
    """Width V of the logits: rows of the output matrix, or measured where there is none."""
    head = getattr(base_of(model).get_output_embeddings(), "weight", None)
    if head is not None and head.ndim == 2 and head.is_floating_point():
        return int(head.shape[0])
    with torch.no_grad():
        ids_BT = torch.zeros((1, 1), dtype=torch.long, device=model.device)
        return logits_of(model, ids_BT, 1).shape[-1]


def embedding_rows(model: CausalLM) -> int:
    """Token ids that the model has an embedding for are below this.

    Raises:
        InputError: the model does not tell.
    """
    base = base_of(model)
    try:
        return int(base.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        rows = getattr(base.config.get_text_config(), "vocab_size", None)
    if rows is None:
        raise InputError(
            f"a {base.config.model_type!r} model does not tell how many tokens it knows",
            needed="embeddings of tokens, or vocab_size in its config",
        )
    return int(rows)


def rope_switch(config: Any) -> int | None:
    """The longest row, in tokens, that is read with the short rope; None where there is one rope.

    A model with LongRoPE turns all positions of a longer row by other angles, also the first: the
    logits of a prefix, and what a cache holds of it, are then others. The width of a batch counts
    as the length of its rows. (Dynamic NTK does so from `positions_of` on, and such texts are
    refused where a model is opened.)
    """
    text = config.get_text_config()
    named = [getattr(text, name, None) for name in ("rope_parameters", "rope_scaling")]
    found = [each for each in named if isinstance(each, dict)]
    found += [of_layers for each in found for of_layers in each.values()]
    switches = [
        each.get(ORIGINAL_POSITIONS, getattr(text, ORIGINAL_POSITIONS, None))
        for each in found
        if isinstance(each, dict) and each.get("rope_type", each.get("type")) in TWO_ROPES
    ]
    return min((int(n) for n in switches if n), default=None)


def crosses_switch(config: Any, lengths: Collection[int]) -> bool:
    """Whether some of these lengths are read with the short rope and some with the long one."""
    switch = rope_switch(config)
    return switch is not None and min(lengths) <= switch < max(lengths)


def positions_of(config: Any) -> int | None:
    """How many tokens a text may have; None where the config sets no limit (XLNet says -1)."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None
