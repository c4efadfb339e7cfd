"""What cannot be exported is refused before anything is loaded."""

from importlib.util import find_spec
from pathlib import Path

from hyperfitting.config import require_effect
from hyperfitting.config.export import ExportConfig
from hyperfitting.data.hub import is_hub_id
from hyperfitting.errors import InputError
from hyperfitting.export.card import licence_of
from hyperfitting.export.formats import FORMATS
from hyperfitting.export.gguf import require_llama_cpp
from hyperfitting.export.hub import require_hub
from hyperfitting.models.located import folder_of
from hyperfitting.runs import require_free
from hyperfitting.writable import require_writable


def require_settings(config: ExportConfig, *, has_adapter: bool) -> None:
    """Refuse settings without effect, and a format that a run has not.

    Raises:
        InputError: what it is.
    """
    form, is_sent = FORMATS[config.format], config.push_to_hub is not None
    makes_gguf = config.format == "gguf" or (form.has_gguf and config.llama_cpp is not None)
    require_effect(
        config,
        ("dtype", form.has_dtype and not makes_gguf, "merged weights", "--format merged or mlx"),
        ("llama_cpp", form.has_gguf, "a GGUF file", "--format gguf or ollama"),
        ("gguf_type", makes_gguf, "a GGUF file", "--format gguf, or --llama-cpp"),
        ("private", is_sent, "a repository", "push_to_hub"),
    )
    if config.format == "adapter" and not has_adapter:
        raise InputError(
            "the run holds a whole model and no adapter",
            needed="--format merged, or a run of a LoRA method",
        )
    if config.format == "gguf" and config.llama_cpp is None and is_sent:
        raise InputError(
            "the GGUF file is still to be made, and the export is to be sent to a hub",
            needed="--llama-cpp, or no push_to_hub",
        )
    if makes_gguf and config.llama_cpp is not None and find_spec("gguf") is None:
        raise InputError(
            "a GGUF file is made, and the package gguf, which reads it back, is not installed",
            needed="the extra: pip install 'hyperfitting[gguf]'",
        )
    require_llama_cpp(config)


def require_possible(
    config: ExportConfig, base: str, out: Path, *, has_adapter: bool
) -> str | None:
    """Refuse what cannot be done; returns the licence of the result.

    Raises:
        InputError: what it is.
    """
    require_settings(config, has_adapter=has_adapter)
    require_free(out)
    require_writable(out)
    licence = config.license or licence_of(base)
    if config.push_to_hub is not None:
        _require_sendable(config, config.push_to_hub, base, licence)
    return licence


def _require_sendable(
    config: ExportConfig, repository: str, base: str, licence: str | None
) -> None:
    """Refuse to send what a hub would not take, or what names nothing that others have."""
    require_hub(repository)
    if licence is None:
        raise InputError(
            "the base model's card names no licence, and the export is to be sent to a hub",
            needed="license=NAME, such as license=apache-2.0",
        )
    name = config.base or base
    if folder_of(name).exists() or Path(name).exists() or not is_hub_id(name):
        raise InputError(
            f"the base model is called {name} here, and the export is to be sent to a hub",
            needed="base=org/name, as others call the base model",
        )
