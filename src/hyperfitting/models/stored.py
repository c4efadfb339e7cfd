"""What a loaded model and its files say of each other: refused, or a line for the reader."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import CONFIG, Checkpoint, name_few
from hyperfitting.models.types import CausalLM

PLAIN = {"F64", "F32", "F16", "BF16"}  # as safetensors calls the types of weights


def require_finite(named: Iterable[tuple[str, Tensor]], source: str) -> None:
    """Refuse weights that are no numbers, also in rows that no text uses.

    Raises:
        InputError: a tensor holds NaN or infinity.
    """
    for name, tensor in named:
        if not tensor.is_floating_point() or tensor.element_size() < 2 or not tensor.numel():
            continue  # coded numbers
        if not all(bool(torch.isfinite(bound)) for bound in torch.aminmax(tensor.detach())):
            raise InputError(
                f"{name} of {source} holds NaN or infinity",
                needed="a model whose weights are all numbers",
                hint="a training that diverged leaves such weights: take an earlier checkpoint",
            )


def checked_notes(
    model: CausalLM, info: Mapping[str, Any], checkpoint: Checkpoint, *, is_quantized: bool
) -> list[str]:
    """Lines on what of a checkpoint was not used or is not what its files say.

    Args:
        model: what was loaded.
        info: transformers' account of loading it.
        checkpoint: what it was loaded from.
        is_quantized: whether coded numbers are expected.

    Raises:
        InputError: weights are missing or do not fit, are coded numbers without their code, or
            belong to a model that predicts something else.
    """
    _require_complete(model, info, checkpoint)
    notes = checkpoint.left_over()
    notes += _of_architecture(model, checkpoint)
    if unexpected := info["unexpected_keys"]:
        notes.append(
            f"{checkpoint.name} holds {len(unexpected)} tensors that this "
            f"{model.config.model_type} model has no place for and that are not used: "
            f"{name_few(unexpected)}"
        )
    if not is_quantized:
        notes += _of_types(model, checkpoint)
    if (
        checkpoint.gguf is None
        and checkpoint.files
        and not any(file.endswith(".safetensors") for file in checkpoint.files)
    ):
        notes.append(
            f"{checkpoint.name} has only pickle weights; the hub's conversion of them, a pull "
            "request of that repository, was loaded"
        )
    return notes + _of_head(model, checkpoint)


def _require_complete(model: CausalLM, info: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    if info["missing_keys"]:  # transformers would leave them at random values
        raise InputError(
            f"{checkpoint.name} lacks weights of a {model.config.model_type!r} model: "
            f"{name_few(info['missing_keys'])}",
            needed="a complete causal language model",
        )
    if wrong := [*info["mismatched_keys"], *info["error_msgs"]]:
        raise InputError(
            f"weights of {checkpoint.name} do not fit a {model.config.model_type!r} model: "
            f"{wrong[0]}",
            needed="a config.json and weights of one model",
        )


def _of_architecture(model: CausalLM, checkpoint: Checkpoint) -> list[str]:
    """Whether what was loaded is what the config says was saved.

    Raises:
        InputError: it was a model with another task, such as a masked language model.
    """
    if checkpoint.gguf is not None:
        return []
    saved = checkpoint.read(CONFIG).get("architectures") or []
    loaded = type(model).__name__
    if not saved or loaded in saved:
        return []
    predicts_tokens = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()) | {
        name for name in saved if name.endswith("ForConditionalGeneration") or "For" not in name
    }
    if not predicts_tokens & set(saved):
        raise InputError(
            f"{CONFIG} of {checkpoint.name} says that it is a {saved[0]}, not a {loaded}",
            needed="a causal language model",
        )
    return [f"{checkpoint.name} was saved as {saved[0]}; its language model was loaded: {loaded}"]


def _of_types(model: CausalLM, checkpoint: Checkpoint) -> list[str]:
    """The types in which weights are stored.

    Raises:
        InputError: numbers of 8 bits or integers, which are weights only with their scales.
    """
    parameters = {name for name, _ in model.named_parameters()}
    rounded = []
    for file in checkpoint.weight_files():
        with safe_open(checkpoint.file(file), framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118  # not a dict
                kind = stored.get_slice(name).get_dtype()
                if kind not in PLAIN and (name in parameters or kind.startswith("F")):
                    raise InputError(
                        f"{name} of {checkpoint.name} is stored as {kind}, and config.json has no "
                        "quantization_config that says what the numbers mean",
                        needed="plain weights, or the config that belongs to them",
                    )
                if kind == "F64":
                    rounded.append(name)
    if not rounded:
        return []
    return [
        f"{len(rounded)} tensors of {checkpoint.name} are stored in float64 and were rounded to "
        f"float32: {name_few(rounded)}"
    ]


def _of_head(model: CausalLM, checkpoint: Checkpoint) -> list[str]:
    """Whether head and embedding are one matrix, as the config says."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return []
    if getattr(head, "weight", None) is getattr(embedding, "weight", None):
        return []
    return [
        f"config.json of {checkpoint.name} says that head and embedding are one matrix, its "
        "weights hold two that differ: both are used as they stand"
    ]
