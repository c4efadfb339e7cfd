"""Digests that identify a loaded model: its weights, and what its config makes of them."""

import hashlib
import json
from collections.abc import Sequence

import torch

from hyperfitting.models.types import CausalLM

# Where a model came from and what wrote it; neither changes what it computes.
_ORIGIN = ("_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype")


def architecture_digest(model: CausalLM, apart_from: Sequence[str] = ()) -> str:
    """Identifies what the config makes of the weights: rope, windows, norms, attention code.

    Settings in `apart_from` are left out.
    """
    left_out = {*_ORIGIN, *apart_from}
    settings = {k: v for k, v in model.config.to_dict().items() if k not in left_out}
    settings["attention"] = str(model.config._attn_implementation)
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def model_digest(model: CausalLM) -> str:
    """Identifies the weights: a hash of every parameter's name, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(
            tensor.detach().reshape(-1).contiguous().view(torch.uint8).cpu().numpy().tobytes()
        )
    return digest.hexdigest()
