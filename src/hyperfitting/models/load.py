"""Load a tokenizer, a base model or a trained result, in float32 (see `devices.py`)."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
)
from transformers.quantizers import AutoHfQuantizer

from hyperfitting.config import ModelConfig
from hyperfitting.data.borders import end_tokens, special_token_ids
from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import (
    CONFIG,
    UNLOADABLE,
    Checkpoint,
    Origin,
    keep_origin,
    locate,
    require_whole,
    unavailable,
)
from hyperfitting.models.devices import DTYPE, choose_device
from hyperfitting.models.interface import embedding_rows, positions_of, vocabulary_rows
from hyperfitting.models.proof import require_causal
from hyperfitting.models.stored import checked_notes
from hyperfitting.runs import RunFolder

SHORTER_WINDOWS = "lower data.window_tokens, data.continuation_tokens or natural_tokens"
# transformers puts an adapter that lies beside whole weights on top of them without a word. It
# looks for one in the subfolder that is named here, and no checkpoint has this one.
WITHOUT_ADAPTER = {"subfolder": "no-adapter-is-wanted"}


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


def load_tokenizer(config: ModelConfig) -> Any:
    """The model's tokenizer. A missing padding token is fine: padding goes by position.

    Raises:
        InputError: it cannot be loaded, or has no end-of-sequence token.
    """
    return load_tokenizer_of(config, require_whole(locate(config)))


def load_tokenizer_of(config: ModelConfig, checkpoint: Checkpoint) -> Any:
    """The tokenizer of a checkpoint, which need hold no model.

    Raises:
        InputError: it cannot be loaded, or has no end-of-sequence token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.path,
            revision=checkpoint.revision,
            trust_remote_code=config.trust_remote_code,
        )
    except UNLOADABLE as error:
        raise unavailable(config, error) from error
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer of {config.name} has no end-of-sequence token",
            needed="an eos token, to tell where a text ends",
            hint="set it once: tokenizer.eos_token = '...'; tokenizer.save_pretrained(folder)",
        )
    return tokenizer


def stored_quantization(checkpoint: Checkpoint) -> str | None:
    """How the stored weights are quantised (`gptq`, `awq`, `fp8`, ...); None where they are not.

    Raises:
        InputError: in a way that transformers does not know, and would read as plain weights.
    """
    found = checkpoint.read(CONFIG).get("quantization_config")
    if not isinstance(found, dict):
        return None
    method = str(found.get("quant_method", "unnamed"))
    is_bitsandbytes = bool(found.get("load_in_8bit") or found.get("load_in_4bit"))
    is_named = "quant_method" in found or is_bitsandbytes
    if not is_named or not AutoHfQuantizer.supports_quant_method(found):
        raise InputError(
            f"the weights of {checkpoint.name} are quantised ({method}), which transformers "
            f"{transformers.__version__} does not know",
            needed="a transformers that knows it, or the unquantised model",
        )
    return method


def is_quantized(model: Any) -> bool:
    """Whether a loaded model holds quantised weights: they are not moved, and never train."""
    return bool(getattr(model, "is_quantized", False))


def _placed(config: ModelConfig, stored: str | None) -> dict[str, Any]:
    """What transformers needs to load quantised weights; nothing for plain ones.

    Raises:
        InputError: they are quantised already, or bitsandbytes is not installed.
    """
    if config.quantization == "none":
        # Quantised weights cannot be moved afterwards: they are placed while loading.
        return {"device_map": {"": choose_device(config)}} if stored else {}
    if stored:
        raise InputError(
            f"model.quantization is {config.quantization}, and the weights of {config.name} are "
            f"quantised already ({stored})",
            needed="model.quantization=none, or the unquantised model",
        )
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
    return {"quantization_config": asked, "device_map": {"": device}}


def load_model(config: ModelConfig) -> PreTrainedModel:
    """The base model in float32 on the chosen device, in evaluation mode (no dropout).

    Exactly the whole weights that stand there: never an adapter beside them. What of the
    checkpoint was not used stands in `checkpoint.origin_of(model)` and in the log.

    Raises:
        InputError: it cannot be loaded, is not causal (proved on it), lacks weights, or holds
            numbers that are no weights without what decodes them.
    """
    checkpoint = require_whole(locate(config))
    stored = stored_quantization(checkpoint)
    placed = _placed(config, stored)
    try:
        with quiet_transformers():
            model, info = AutoModelForCausalLM.from_pretrained(
                checkpoint.path,
                revision=checkpoint.revision,
                trust_remote_code=config.trust_remote_code,
                dtype=DTYPE,
                use_safetensors=True,
                output_loading_info=True,
                adapter_kwargs=WITHOUT_ADAPTER,
                **placed,
            )
    except torch.OutOfMemoryError:
        raise
    except (*UNLOADABLE, RuntimeError) as error:  # RuntimeError: shapes that do not match
        raise _quantized(config, stored, error) if stored else unavailable(config, error) from error
    assert not getattr(model, "_hf_peft_config_loaded", False), "an adapter was loaded too"
    quantization = stored or (config.quantization if config.quantization != "none" else None)
    notes = checked_notes(model, info, checkpoint, is_quantized=quantization is not None)
    if quantization is not None and not is_quantized(model):
        notes.append(f"the {quantization} weights of {config.name} were loaded as plain numbers")
    origin = Origin(
        config.name, "model", config.revision, checkpoint.commit, quantization, None, tuple(notes)
    )
    keep_origin(model, origin)
    if not placed:
        model.to(choose_device(config))
    require_causal(model.eval())
    return model


def _quantized(config: ModelConfig, stored: str, error: Exception) -> InputError:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(
        f"the weights of {config.name} are quantised ({stored}) and cannot be loaded here: "
        f"{first_line}",
        needed=f"what transformers needs for {stored} weights, or the unquantised model",
    )


def load_result(run: RunFolder, config: ModelConfig, *, digest: str | None = None) -> Any:
    """The trained model of a run: its own weights, or its adapter on the base model.

    With `digest` the base is loaded only where it is the one with that digest.

    Raises:
        InputError: the run holds no result or two, or the adapter does not fit the base.
    """
    from hyperfitting.models.adapter import put_adapter

    if run.adapter.is_dir() and run.model.is_dir():
        raise InputError(f"{run.path} holds both adapter/ and model/", needed="one result")
    own = config.model_copy(update={"name": str(run.result), "revision": None})
    if run.adapter.is_dir():
        base = load_model(config)
        if digest is not None:
            require_digest(base, digest, config)
        return put_adapter(base, locate(own), config, is_known_base=True)
    if run.model.is_dir():
        return load_model(own)
    raise InputError(f"{run.path} holds neither adapter/ nor model/", needed="a finished run")


def require_digest(model: Any, digest: str, config: ModelConfig) -> None:
    """Refuse a base model that is not the one runs were trained from.

    Raises:
        InputError: its weights have another digest.
    """
    if model_digest(model) != digest:
        raise InputError(
            f"the weights of {config.name} are not those the runs were trained from",
            needed=f"the base model with digest {digest[:12]}…",
            hint="restore that model, or train again",
        )


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


def end_reasons(model: Any, tokenizer: Any) -> dict[int, list[str]]:
    """Every token that ends a text, with the reasons why: see `borders.end_tokens`."""
    declared = model.generation_config.eos_token_id
    declared = declared if isinstance(declared, list) else [declared]
    rows = vocabulary_rows(model)
    found = end_tokens(tokenizer, [i for i in declared if i is not None])
    return {i: why for i, why in found.items() if i < rows}  # one it has no row for never comes


def end_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a text: see `end_reasons`."""
    return sorted(end_reasons(model, tokenizer))


def unwritable_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Special tokens and vocabulary rows beyond the tokenizer: no part of a text."""
    rows = vocabulary_rows(model)
    special = {i for i in special_token_ids(tokenizer) if i < rows}
    beyond = set(range(len(tokenizer), rows))
    if beyond:  # a tokenizer may leave numbers out and go on beyond its count
        beyond -= set(tokenizer.get_vocab().values())
    return sorted(special | beyond)


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
    checkpoint = require_whole(locate(config))
    try:
        return AutoConfig.from_pretrained(
            checkpoint.path,
            revision=checkpoint.revision,
            trust_remote_code=config.trust_remote_code,
        )
    except UNLOADABLE as error:
        raise unavailable(config, error) from error


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
