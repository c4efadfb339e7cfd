"""Digests that identify a loaded model: its weights, and what its config makes of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hyperfitting.models.anatomy import base_of
from hyperfitting.models.types import CausalLM

# Where a model came from and what wrote it; neither changes what it computes.
_ORIGIN = (
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "architectures",
    "dtype",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
)


def settings_of(model: CausalLM) -> dict[str, Any]:
    """What the config makes of the weights, but for where they came from; as JSON has it."""
    own = {key: value for key, value in model.config.to_dict().items() if key not in _ORIGIN}
    plain: dict[str, Any] = json.loads(json.dumps(own, default=_plain))
    return plain


def first_difference(before: Any, now: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first setting that both have, and that is another now: its name, then both values.

    What only one of them has is of another version of transformers and tells nothing.
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in before:
            if key in now:
                inner = f"{name}.{key}" if name else str(key)
                if found := first_difference(before[key], now[key], inner):
                    return found
        return None
    return None if before == now else (name, before, now)


def architecture_digest(model: CausalLM, apart_from: Sequence[str] = ()) -> str:
    """Identifies what the config makes of the weights: rope, windows, norms, attention code.

    Settings in `apart_from` are left out.
    """
    settings = {k: v for k, v in settings_of(model).items() if k not in apart_from}
    settings["attention"] = str(model.config._attn_implementation)
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def model_digest(model: CausalLM) -> str:
    """Identifies the weights: a hash of every parameter's name, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        numbers = tensor.detach().reshape(-1).contiguous().view(torch.uint8).cpu().numpy()
        digest.update(numbers.data)  # not a copy: an embedding has hundreds of megabytes
    return digest.hexdigest()


def behaviour_digest(model: CausalLM) -> str:
    """Identifies all that a model computes with: weights, config, and what its adapters ask for."""
    adapters = {
        name: {key: value for key, value in config.to_dict().items() if key not in _ORIGIN}
        for name, config in sorted(getattr(model, "peft_config", {}).items())
    }
    content = [model_digest(model), architecture_digest(base_of(model)), adapters]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> str:
    """Anything else as text; a set in an order that is always the same."""
    return str(sorted(map(str, value)) if isinstance(value, set | frozenset) else value)
