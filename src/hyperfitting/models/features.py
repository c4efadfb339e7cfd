"""Features of whole texts: the final hidden state of a model at a text's last token.

The published MAUVE pipeline takes them from GPT-2-large (arXiv 2102.01454; definitions, section
2.7). Shape letters: B texts of a batch, T tokens, N texts in all, D hidden width.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyperfitting.config import ModelConfig
from hyperfitting.data.borders import borders_of
from hyperfitting.errors import InputError
from hyperfitting.faults import is_memory
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.interface import accepted_arguments, positions_of, rope_switch
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.models.proof import runs_in_batches
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Stage

MAX_TOKENS = 1024  # of the published pipeline


class TextFeatures(NamedTuple):
    """Features and what they have to be named with."""

    feature_ND: NDArray[np.float32]
    token_limit: int  # asked for, or the model's positions where these are fewer
    num_cut: int  # texts longer than the limit


@torch.no_grad()
def last_hidden_states(
    model: CausalLM, rows: Sequence[Sequence[int]], *, batch_size: int, stage: Stage | None = None
) -> NDArray[np.float32]:
    """The decoder's output, after the final norm, at the last token of each row, [N, D].

    float32, any range. Rows of unlike length run together, filled up on the right, where a causal
    model's earlier positions cannot see. The head is not run, so there are no logits.

    Raises:
        InputError: a model that is not causal, or whose class does not tell the decoder from the
            head.
        ValueError: no rows, a row without tokens, or a batch size below 1.
    """
    lengths = [len(row) for row in rows]
    if batch_size < 1 or not lengths or min(lengths) == 0:
        raise ValueError("rows with tokens and a batch size of at least 1 are needed")
    if not runs_in_batches(model):
        batch_size = 1
    decoder = base_of(model).base_model
    if decoder is base_of(model):  # its class does not say where the head's input comes from
        raise InputError(
            f"a {model.config.model_type!r} model does not tell its decoder from its head",
            needed="a feature model of transformers' own classes, such as gpt2-large",
        )
    switch = rope_switch(base_of(model).config)
    by_length = sorted(range(len(rows)), key=lengths.__getitem__)  # little filling in a batch
    beyond = bisect_right(by_length, switch or lengths[by_length[-1]], key=lengths.__getitem__)
    found: dict[int, NDArray[np.float32]] = {}
    for chosen in _batches(by_length[:beyond], by_length[beyond:], batch_size):
        width = lengths[chosen[-1]]
        filled = [[*rows[i], *[0] * (width - lengths[i])] for i in chosen]
        ids_BT = torch.tensor(filled, device=model.device)
        hidden_BTD = _decoder_output(model, decoder, ids_BT)
        last_B = torch.tensor([lengths[i] - 1 for i in chosen], device=hidden_BTD.device)
        last_BD = hidden_BTD[torch.arange(len(chosen), device=last_B.device), last_B]
        found.update(zip(chosen, last_BD.float().cpu().numpy(), strict=True))
        if stage:
            stage.update(len(found))
    return np.stack([found[i] for i in range(len(rows))])


def _batches(short: Sequence[int], long: Sequence[int], batch_size: int) -> Iterator[Sequence[int]]:
    """Batches of either; none has both, as their rope is not the same."""
    for rows in (short, long):
        yield from (rows[n : n + batch_size] for n in range(0, len(rows), batch_size))


def _decoder_output(model: CausalLM, decoder: Any, ids_BT: Tensor) -> Tensor:
    """What the head would be given, [B, T, D].

    Raises:
        InputError: the decoder cannot be run on tokens alone, or gives something else.
    """
    options = {"use_cache": False} if "use_cache" in accepted_arguments(decoder) else {}
    try:
        hidden_BTD: Tensor = decoder(input_ids=ids_BT, **options).last_hidden_state
        if hidden_BTD.shape[:2] != ids_BT.shape:
            raise ValueError(f"its output has the shape {tuple(hidden_BTD.shape)}")
    except Exception as error:  # a model's own code raises anything
        if is_memory(error):
            raise
        raise InputError(
            f"the decoder of a {base_of(model).config.model_type!r} model gives no hidden state "
            f"for each token: {type(error).__name__}: {error}",
            needed="a feature model of transformers' own classes, such as gpt2-large",
        ) from error
    return hidden_BTD


def last_token_features(
    texts: Sequence[str],
    name: str,
    *,
    device: Literal["auto", "cpu", "cuda"],
    batch_size: int,
    max_tokens: int = MAX_TOKENS,
    revision: str | None = None,
    trust_remote_code: bool = False,
    stage: Stage | None = None,
) -> TextFeatures:
    """Features of `texts` from the causal model `name`: `builtin`, a folder or a hub id.

    Each text is read with the model's own tokenizer, opened as it opens texts, and cut after
    `max_tokens` or the model's last position. See `last_hidden_states`; computed in float32.

    Raises:
        InputError: the model cannot be loaded, or a text has no tokens.
        ValueError: no texts, or a limit or batch size below 1.
    """
    if max_tokens < 1:
        raise ValueError(f"the token limit must be at least 1, got {max_tokens}")
    config = ModelConfig(
        name=name, device=device, revision=revision, trust_remote_code=trust_remote_code
    )
    tokenizer, model = load_tokenizer(config), load_model(config)
    positions = positions_of(model.config)
    limit = max_tokens if positions is None else min(max_tokens, positions)
    # What the tokenizer appends is no token of the text: the last one would always be that.
    borders = borders_of(tokenizer)
    rows = [borders.lead + borders.encode(text) for text in texts]
    empty = [i for i, row in enumerate(rows) if not row]
    if empty:
        raise InputError(
            f"text {empty[0]} of {len(rows)} has no tokens, so it has no features",
            needed="texts with at least one token",
        )
    feature_ND = last_hidden_states(
        model, [row[:limit] for row in rows], batch_size=batch_size, stage=stage
    )
    return TextFeatures(feature_ND, limit, sum(len(row) > limit for row in rows))
