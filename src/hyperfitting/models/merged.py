"""A trained model as plain weights, and a LoRA as every program reads it.

Weights are summed in float32 and cast once: what is added in 16 bits loses small updates.
"""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.adapter import parameters_with_adapter
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.checkpoint import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG
from hyperfitting.models.load import is_quantized, quiet_transformers
from hyperfitting.models.located import locate
from hyperfitting.models.sentencepiece_file import SENTENCEPIECE
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.storage import read_json, write_json

STORED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COMMON_RANK = 16  # the largest that vLLM takes where nothing is said (`max_lora_rank`)

# Settings of a generation config that change no token that is written: which ends and how many
# tokens there are, what is handed back with them, and how they are computed. All others do.
WITHOUT_EFFECT = {
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "max_length",
    "max_new_tokens", "max_time", "num_return_sequences", "return_dict_in_generate",
    "output_attentions", "output_hidden_states", "output_logits", "output_scores", "use_cache",
    "cache_config", "cache_implementation", "max_cache_len", "compile_config", "disable_compile",
    "continuous_batching_config", "prefill_chunk_size", "low_memory", "is_assistant",
    "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
    "assistant_early_exit", "assistant_ensemble_weight", "assistant_lookbehind",
    "target_lookbehind", "max_matching_ngram_size", "prompt_lookup_num_tokens",
    "speculation_type", "use_mtp", "transformers_version", "_from_model_config",
}  # fmt: skip
# Values that are written out though they change nothing.
NEUTRAL: dict[str, Any] = {
    "do_sample": False, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0, "length_penalty": 1.0,
    "num_beams": 1, "num_beam_groups": 1, "early_stopping": False, "diversity_penalty": 0.0,
    "min_length": 0, "min_new_tokens": 0, "guidance_scale": 1.0, "top_k": 50, "top_p": 1.0,
    "min_p": 0, "typical_p": 1.0, "temperature": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
    "renormalize_logits": False, "remove_invalid_values": False, "token_healing": False,
}  # fmt: skip
# Only where it samples.
OF_SAMPLING = (
    "top_k", "top_p", "top_h", "min_p", "typical_p", "temperature", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip
AGAINST_REPETITION = ("repetition_penalty", "no_repeat_ngram_size")


def weights_of(model: CausalLM) -> Iterator[tuple[str, Tensor]]:
    """Every weight by its name in the model without adapters, with what they add to it.

    Tied weights come under each of their names.
    """
    adapted = None
    for name, module in base_of(model).named_modules():
        if adapted is not None and name.startswith(f"{adapted}."):
            continue
        if hasattr(module, "get_base_layer"):
            adapted = name
        for own, tensor in parameters_with_adapter(module).items():
            yield f"{name}.{own}".removeprefix("."), tensor


def merged(model: CausalLM) -> CausalLM:
    """The model with its adapters added to its float32 weights. Mutates `model`.

    Raises:
        InputError: the weights below the adapter are quantised.
    """
    if not hasattr(model, "peft_config"):
        return model
    if is_quantized(base_of(model)):
        raise InputError(
            "the base model is quantised, and an adapter is not added to such weights",
            needed="--format adapter, or a run on the unquantised model",
        )
    with quiet_transformers():
        return model.merge_and_unload(safe_merge=True)


def stored_dtype(base: ModelConfig) -> str:
    """The type in which a base model's weights are stored; float32 of a GGUF file and others."""
    checkpoint = locate(base)
    if checkpoint.gguf is not None or CONFIG not in checkpoint.files:
        return "float32"
    content = checkpoint.read(CONFIG)
    found = str(content.get("dtype") or content.get("torch_dtype") or "float32")
    return found if found in STORED else "float32"


def odd_settings(model: CausalLM) -> list[str]:
    """What of a model's generation config changes greedy decoding, as NAME=VALUE."""
    given = model.generation_config.to_diff_dict()
    samples = bool(given.get("do_sample"))
    return [
        f"{name}={value}"
        for name, value in given.items()
        if name not in WITHOUT_EFFECT
        and value not in (None, NEUTRAL.get(name), [], {})
        and (samples or name not in OF_SAMPLING)
    ]


def greedy_settings(model: CausalLM, ends: list[int]) -> GenerationConfig:
    """What has other programs decode as it is measured here: greedily, and to the same ends.

    Samplers, penalties and lengths of the base model are left out: they are not what was measured.
    """
    own = model.generation_config
    first = ends[0] if ends else None  # a model without an end writes on
    padding = own.pad_token_id if own.pad_token_id is not None else first
    return GenerationConfig(
        do_sample=False, bos_token_id=own.bos_token_id, pad_token_id=padding,
        eos_token_id=ends if len(ends) > 1 else first,
    )  # fmt: skip


def save_merged(model: CausalLM, settings: GenerationConfig, folder: Path, dtype: str) -> None:
    """Write a merged model. Mutates `model`: it is cast to `dtype`."""
    model.to(STORED[dtype])
    model.generation_config = settings
    with quiet_transformers():
        model.save_pretrained(folder, safe_serialization=True)


def save_tokenizer(tokenizer: Tokenizer, base: ModelConfig, folder: Path) -> None:
    """Write every file of a tokenizer, its chat template included."""
    tokenizer.save_pretrained(folder)
    checkpoint = locate(base)
    if SENTENCEPIECE in checkpoint.files and not (folder / SENTENCEPIECE).exists():
        shutil.copyfile(checkpoint.file(SENTENCEPIECE), folder / SENTENCEPIECE)


def save_plain_adapter(source: Path, target: Path, *, strength: float, base: str) -> list[str]:
    """Write an adapter as a plain LoRA: what converters and servers apply is what was trained.

    A rank-stabilised LoRA divides by the root of its rank, which converters do not read: it goes
    into `lora_alpha`, and the product stays the same. PiSSA was saved as a plain LoRA.

    Returns:
        Lines for the reader.

    Raises:
        InputError: DoRA, which only PEFT applies; or ranks that differ between layers.
    """
    content: dict[str, Any] = read_json(source / ADAPTER_CONFIG)
    if content.get("use_dora"):
        raise InputError(
            "the adapter is a DoRA, which llama.cpp refuses and vLLM does not apply",
            needed="--format merged, which every program reads",
        )
    if content.get("target_parameters"):
        raise InputError(
            "the adapter is on the matrices of experts too, which converters do not read",
            needed="--format merged",
        )
    if content.get("rank_pattern") or content.get("alpha_pattern"):
        raise InputError(
            "the adapter has another rank or alpha in some layers, which converters do not read",
            needed="--format merged",
        )
    rank, alpha, notes = int(content["r"]), float(content["lora_alpha"]), []
    if content.get("use_rslora"):
        alpha *= math.sqrt(rank)
        content["use_rslora"] = False
        notes.append(f"the root of its rank is in lora_alpha, which is now {alpha * strength:g}")
    alpha *= strength
    content["lora_alpha"] = int(alpha) if alpha.is_integer() else alpha
    content["base_model_name_or_path"] = base
    write_json(target / ADAPTER_CONFIG, content)
    shutil.copyfile(source / ADAPTER_WEIGHTS, target / ADAPTER_WEIGHTS)
    if rank > COMMON_RANK:
        notes.append(f"its rank is {rank}: vLLM needs --max-lora-rank {rank}")
    return notes
