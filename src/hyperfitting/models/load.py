"""Load a tokenizer, a base model or a trained result, in float32 (see `devices.py`)."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
)

from hyperfitting.builtin import MODEL_FOLDER
from hyperfitting.config import ModelConfig
from hyperfitting.data.chat import special_token_ids
from hyperfitting.data.sources import HUB_ID
from hyperfitting.errors import InputError
from hyperfitting.models.devices import DTYPE, choose_device
from hyperfitting.models.interface import embedding_rows, positions_of, vocabulary_rows
from hyperfitting.models.proof import require_causal
from hyperfitting.runs import RunFolder

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
UNLOADABLE = (ImportError, OSError, ValueError, KeyError, HFValidationError, SafetensorError)
SHORTER_WINDOWS = "lower data.window_tokens, data.continuation_tokens or natural_tokens"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def model_path(config: ModelConfig) -> str:
    """What transformers is asked for: a folder checked here, or a hub id.

    Raises:
        InputError: no such folder, or a folder without config, tokenizer or safetensors weights.
    """
    if config.name == "builtin":
        return str(MODEL_FOLDER)
    folder = Path(config.name)
    if folder.is_dir():
        _check_folder(folder)
        return str(folder)
    if folder.is_file() or not HUB_ID.fullmatch(config.name) or config.name[0] in "./~":
        raise InputError(
            f"the model folder {config.name} does not exist",
            needed="`builtin`, a folder that save_pretrained wrote, or a hub id such as org/name",
        )
    return config.name


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").exists():
        adapter = (folder / "adapter_config.json").exists()
        raise InputError(
            f"{folder} has no config.json" + (": it holds an adapter" if adapter else ""),
            needed="the folder of a whole model",
            hint="give the base model that the adapter belongs to" if adapter else None,
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for pattern in PICKLES for p in folder.glob(pattern))
        found = f"only pickle weights ({', '.join(pickles)})" if pickles else "no weights"
        raise InputError(
            f"{folder} has {found}",
            needed="weights in .safetensors; pickles can run code and are never loaded",
            hint="convert once: load in transformers, then model.save_pretrained(folder)"
            if pickles
            else None,
        )
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise InputError(
            f"{folder} has no tokenizer",
            needed=f"one of {', '.join(TOKENIZER_FILES)}",
            hint="save the model's tokenizer there: tokenizer.save_pretrained(folder)",
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars of transformers beside our own, no notices meant for its developers."""
    enabled = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # PEFT reads a property that newer versions of transformers call by another name.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            yield
    finally:
        if enabled:
            transformers.utils.logging.enable_progress_bar()


def _unavailable(config: ModelConfig, error: Exception) -> InputError:
    first_line = str(error).strip().splitlines()[0]
    is_here = config.name == "builtin" or Path(config.name).exists()
    nowhere = "" if is_here else ", and there is no such folder here"
    return InputError(
        f"the model {config.name!r} cannot be loaded{nowhere}: {first_line}",
        needed="a folder with config.json, tokenizer and .safetensors weights, "
        "or the id of a hub model that can be reached",
        hint="--trust-remote-code runs code that the model brings along, if you trust it"
        if "trust_remote_code" in str(error)
        else None,
    )


def load_tokenizer(config: ModelConfig) -> Any:
    """The model's tokenizer. A missing padding token is fine: padding goes by position.

    Raises:
        InputError: it cannot be loaded, or has no end-of-sequence token.
    """
    return load_tokenizer_of(config, model_path(config))


def load_tokenizer_of(config: ModelConfig, path: str) -> Any:
    """The tokenizer in a folder or at a hub id, which need hold no model.

    Raises:
        InputError: it cannot be loaded, or has no end-of-sequence token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=config.revision, trust_remote_code=config.trust_remote_code
        )
    except UNLOADABLE as error:
        raise _unavailable(config, error) from error
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer of {config.name} has no end-of-sequence token",
            needed="an eos token, to tell where a text ends",
            hint="set it once: tokenizer.eos_token = '...'; tokenizer.save_pretrained(folder)",
        )
    return tokenizer


def _quantization(config: ModelConfig) -> dict[str, Any]:
    """What transformers needs to load a bitsandbytes base; nothing for a plain one.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    if config.quantization == "none":
        return {}
    if find_spec("bitsandbytes") is None:
        raise InputError(
            f"model.quantization is {config.quantization}, but bitsandbytes is not installed",
            needed="the extra: pip install 'hyperfitting[quantized]'",
        )
    device = choose_device(config)
    asked = BitsAndBytesConfig(
        load_in_8bit=config.quantization == "int8",
        load_in_4bit=config.quantization == "nf4",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16 if device.type == "cuda" else DTYPE,
    )
    # Quantised weights cannot be moved afterwards: they are placed while loading.
    return {"quantization_config": asked, "device_map": {"": device}}


def load_model(config: ModelConfig) -> PreTrainedModel:
    """The base model in float32 on the chosen device, in evaluation mode (no dropout).

    Raises:
        InputError: it cannot be loaded, is not causal (proved on it), or lacks weights.
    """
    path = model_path(config)
    try:
        with quiet_transformers():
            model, info = AutoModelForCausalLM.from_pretrained(
                path,
                revision=config.revision,
                trust_remote_code=config.trust_remote_code,
                dtype=DTYPE,
                use_safetensors=True,
                output_loading_info=True,
                **_quantization(config),
            )
    except torch.OutOfMemoryError:
        raise
    except (*UNLOADABLE, RuntimeError) as error:  # RuntimeError: shapes that do not match
        raise _unavailable(config, error) from error
    if info["missing_keys"]:  # transformers would leave them at random values
        raise InputError(
            f"{config.name} lacks weights of a {model.config.model_type!r} model: "
            f"{', '.join(sorted(info['missing_keys'])[:3])}",
            needed="a complete causal language model",
        )
    if config.quantization == "none":
        model = model.to(choose_device(config))
    require_causal(model.eval())
    return model


def load_result(run: RunFolder, config: ModelConfig) -> Any:
    """The trained model of a run: its own weights, or its adapter on the base model.

    Raises:
        InputError: the run holds no result.
    """
    if run.adapter.is_dir():
        from peft import PeftModel

        with quiet_transformers():
            return PeftModel.from_pretrained(load_model(config), run.adapter).eval()
    if run.model.is_dir():
        return load_model(config.model_copy(update={"name": str(run.model), "revision": None}))
    raise InputError(f"{run.path} holds neither adapter/ nor model/", needed="a finished run")


WORD_MARKS = ("\u0120", "\u2581")  # how byte-level BPE and SentencePiece write a leading space


def token_texts(tokenizer: Any, count: int) -> tuple[list[str], list[bool]]:
    """The text of tokens 0..count-1, each decoded alone, and whether it opens with a space."""
    texts = [str(tokenizer.decode([i])) for i in range(count)]
    raw = tokenizer.convert_ids_to_tokens(list(range(count)))
    starts = [
        text[:1].isspace() or str(token).startswith(WORD_MARKS)
        for text, token in zip(texts, raw, strict=True)
    ]
    return texts, starts


def end_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a text: the tokenizer's, and those generation stops at."""
    declared = model.generation_config.eos_token_id
    declared = declared if isinstance(declared, list) else [declared]
    return sorted({tokenizer.eos_token_id, *(i for i in declared if i is not None)})


def unwritable_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Special tokens and vocabulary rows beyond the tokenizer: no part of a text."""
    rows = vocabulary_rows(model)
    special = {i for i in special_token_ids(tokenizer) if i < rows}
    return sorted(special | set(range(len(tokenizer), rows)))


def check_fit(
    model: Any, largest_id: int, width: int, name: str, hint: str = SHORTER_WINDOWS
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


def load_model_config(config: ModelConfig) -> Any:
    """What the checkpoint says of its architecture, without its weights.

    Raises:
        InputError: it cannot be loaded.
    """
    try:
        return AutoConfig.from_pretrained(
            model_path(config),
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
        )
    except UNLOADABLE as error:
        raise _unavailable(config, error) from error


def _check_positions(model_config: Any, width: int, name: str, hint: str) -> None:
    positions = positions_of(model_config)
    if positions is not None and width > positions:
        raise InputError(
            f"{width} tokens are asked for, {name} has positions for {positions}",
            needed=f"at most {positions} tokens",
            hint=hint,
        )


# Where a model came from and what wrote it; neither changes what it computes.
_ORIGIN = ("_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype")


def architecture_digest(model: Any, apart_from: Sequence[str] = ()) -> str:
    """Identifies what the config makes of the weights: rope, windows, norms, attention code.

    Settings in `apart_from` are left out.
    """
    left_out = {*_ORIGIN, *apart_from}
    settings = {k: v for k, v in model.config.to_dict().items() if k not in left_out}
    settings["attention"] = str(model.config._attn_implementation)
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def model_digest(model: Any) -> str:
    """Identifies the weights: a hash of every parameter's name, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(
            tensor.detach().reshape(-1).contiguous().view(torch.uint8).cpu().numpy().tobytes()
        )
    return digest.hexdigest()
