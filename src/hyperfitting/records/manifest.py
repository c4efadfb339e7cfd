"""What the manifest of a RUN says."""

from collections.abc import Mapping
from typing import Any

from hyperfitting.config import ModelConfig


def trained_from(manifest: Mapping[str, Any]) -> ModelConfig:
    """The base model of a run: of a hub id the commit that was trained from, not a branch."""
    model = ModelConfig.model_validate(manifest["config"]["model"])
    commit = (manifest.get("origin") or {}).get("commit")  # runs of older versions have no origin
    return model.model_copy(update={"revision": commit}) if commit else model
