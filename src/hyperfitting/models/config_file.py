"""What a model's JSON files say that no model can be: refused by file and key."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hyperfitting.errors import InputError

LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
MOST_LAYERS = 1_000  # the deepest language models have some 130
SIZE_KEYS = (
    "vocab_size", "hidden_size", "n_embd", "d_model", "num_attention_heads", "n_head",
    "num_key_value_heads", "head_dim", *LAYER_KEYS,
)  # fmt: skip
# Mamba-2 leaves its time steps without an upper limit, which is saved as Infinity.
ENDLESS = ("time_step_limit",)
FLOAT = "__float__"  # how transformers writes such a number in JSON: {"__float__": "Infinity"}


def _numbers(content: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number that may be none, with the keys that lead to it."""
    if isinstance(content, float):
        yield key, content
    elif isinstance(content, Mapping):
        if content.get(FLOAT) in ("Infinity", "-Infinity", "NaN"):
            yield key, float(content[FLOAT])
            return
        for name, value in content.items():
            yield from _numbers(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list):
        for value in content:
            yield from _numbers(value, key)


def require_numbers(content: Any, where: str) -> None:
    """Refuse NaN and infinity, which Python's reader takes and a model multiplies by.

    Raises:
        InputError: there is one; `where` is the file.
    """
    for key, value in _numbers(content):
        is_limit = key.rpartition(".")[2] in ENDLESS and value == math.inf
        if not math.isfinite(value) and not is_limit:
            raise InputError(
                f"{where} says that {key} is {value}",
                needed="a number",
                hint="fetch or save the model again",
            )


def require_sizes(config: Mapping[str, Any], where: str) -> None:
    """Refuse sizes that no model has, and layers that would take hours to lay out.

    Raises:
        InputError: there is one; `where` is the file.
    """
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, Mapping) else {}):
        for key in SIZE_KEYS:
            size = part.get(key)
            if not isinstance(size, int | float) or isinstance(size, bool):
                continue  # null, or a list of one for each layer
            if size < 1:
                raise InputError(
                    f"{where} says that {key} is {size}",
                    needed="a whole number from 1",
                    hint="fetch or save the model again",
                )
            if key in LAYER_KEYS and size > MOST_LAYERS:
                raise InputError(
                    f"{where} asks for {size:,} layers ({key})",
                    needed=f"a model of at most {MOST_LAYERS:,} layers",
                )
