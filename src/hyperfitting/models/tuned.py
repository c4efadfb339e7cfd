"""Tuned checkpoints that we did not train: adapters and whole models, and if they fit a base."""

import warnings
from pathlib import Path
from typing import Any

import torch

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.load import (
    TOKENIZER_FILES,
    UNLOADABLE,
    load_model,
    load_model_config,
    load_tokenizer_of,
    model_path,
    quiet_transformers,
)
from hyperfitting.models.pair import require_one_architecture
from hyperfitting.storage import read_json


def is_adapter(name: str) -> bool:
    """Whether a local folder holds a PEFT adapter."""
    return (Path(name) / "adapter_config.json").exists()


def adapter_base(name: str) -> str | None:
    """The base model that a local folder's adapter names; None where it holds no adapter.

    Raises:
        InputError: an adapter that names no base.
    """
    if not is_adapter(name):
        return None
    base = read_json(Path(name) / "adapter_config.json").get("base_model_name_or_path")
    if not base:
        raise InputError(
            f"the adapter in {name} does not name its base model",
            needed="the base model it was trained on",
            hint="--base MODEL",
        )
    return str(base)


def load_adapted_or_whole(name: str, base: ModelConfig) -> Any:
    """A tuned checkpoint: an adapter's folder on its base, or a whole model.

    Raises:
        InputError: it cannot be loaded, or does not fit the base.
    """
    if not is_adapter(name):
        return load_model(base.model_copy(update={"name": name, "revision": None}))
    from peft import PeftModel

    if not any(Path(name).glob("*.safetensors")):
        raise InputError(
            f"the adapter in {name} has no .safetensors weights",
            needed="weights in .safetensors; pickles can run code and are never loaded",
        )
    model = load_model(base)
    try:
        with quiet_transformers():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # refused below
            adapted = PeftModel.from_pretrained(model, name).eval()
            # PEFT passes over tensors without a place; only a second loading tells which.
            found = adapted.load_adapter(name, adapted.active_adapter)
    except torch.OutOfMemoryError:
        raise
    except (*UNLOADABLE, RuntimeError) as error:
        first, *rest = str(error).strip().splitlines()
        reason = rest[0].strip() if first.endswith(":") and rest else first  # below its title
        raise _no_fit(name, base, reason) from error
    if adapted.active_peft_config.is_prompt_learning:
        raise InputError(
            f"the adapter in {name} is {adapted.active_peft_config.peft_type.value}, which adds "
            "tokens to the text",
            needed="an adapter that changes weights, such as LoRA",
        )
    if unplaced := [*found.unexpected_keys, *found.missing_keys]:
        raise _no_fit(name, base, f"{len(unplaced)} tensors have no counterpart, {unplaced[0]}")
    return adapted


def _no_fit(name: str, base: ModelConfig, reason: str) -> InputError:
    return InputError(
        f"the adapter in {name} does not fit {base.name}: {reason}",
        needed="the base model it was trained on",
    )


def require_same_tokenizer(base: ModelConfig, tuned: str, tokenizer: Any) -> None:
    """Refuse a tuned checkpoint that reads texts as other tokens than its base does.

    An adapter's folder without a tokenizer uses the base's.

    Raises:
        InputError: the vocabularies differ, or there is no such checkpoint.
    """
    folder = Path(tuned)
    if folder.is_dir() and not any((folder / file).exists() for file in TOKENIZER_FILES):
        return
    config = base.model_copy(update={"name": tuned, "revision": None})
    other = load_tokenizer_of(config, tuned if folder.is_dir() else model_path(config))
    ours, theirs = tokenizer.get_vocab(), other.get_vocab()
    if ours == theirs:
        return
    differing = sorted(
        token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)
    )
    raise InputError(
        f"{base.name} and {tuned} have different tokenizers: {len(ours):,} and {len(theirs):,} "
        f"entries, {len(differing):,} of them differ, for example {differing[0]!r}",
        needed="two checkpoints with the same tokenizer: their logits are compared token by token",
    )


def require_same_architecture(base: ModelConfig, tuned: str) -> None:
    """Refuse a whole model of another architecture before anything is computed.

    An adapter has its base's.

    Raises:
        InputError: they differ, or one cannot be loaded.
    """
    if not is_adapter(tuned):
        other = base.model_copy(update={"name": tuned, "revision": None})
        require_one_architecture(load_model_config(base), load_model_config(other))
