"""Whether texts fit a model: its embeddings, and its positions."""

from typing import Any

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.interface import embedding_rows, positions_of
from hyperfitting.models.load import load_model_config
from hyperfitting.models.types import CausalLM

SHORTER_WINDOWS = "lower data.window_tokens, data.continuation_tokens or natural_tokens"


def check_fit(
    model: CausalLM, largest_id: int, width: int, name: str, hint: str = SHORTER_WINDOWS
) -> None:
    """Refuse tokens the model has no embedding for and texts longer than its positions.

    Raises:
        InputError: the tokenizer or the window does not fit the model.
    """
    rows = embedding_rows(model)
    if largest_id >= rows:
        raise InputError(
            f"the tokenizer of {name} gives token {largest_id}, the model has {rows} embeddings",
            needed="the tokenizer the model was trained with",
        )
    _check_positions(model.config, width, name, hint)


def check_length(config: ModelConfig, width: int) -> None:
    """Refuse texts longer than the model's positions, without loading its weights.

    Raises:
        InputError: `width` tokens are too many.
    """
    _check_positions(load_model_config(config), width, config.name, SHORTER_WINDOWS)


def _check_positions(model_config: Any, width: int, name: str, hint: str) -> None:
    positions = positions_of(model_config)
    if positions is not None and width > positions:
        raise InputError(
            f"{width} tokens are asked for, {name} has positions for {positions}",
            needed=f"at most {positions} tokens",
            hint=hint,
        )
