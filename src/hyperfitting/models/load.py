"""Load a tokenizer, a base model or a trained result, in float32 (see `devices.py`)."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
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

from hyperfitting.allocation import give_back_unused
from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    Checkpoint,
    keep_origin,
    loading,
    reason_of,
    unavailable,
)
from hyperfitting.models.devices import DTYPE, choose_device
from hyperfitting.models.digests import first_difference, model_digest, settings_of
from hyperfitting.models.gguf_file import (
    config_of,
    dequantising,
    file_of,
    gguf_refused,
    made_plain,
    read_once,
    stated_config,
    take_end_of_file,
    without_bar,
)
from hyperfitting.models.located import locate, require_whole
from hyperfitting.models.pickles import without_pickles
from hyperfitting.models.proof import require_causal
from hyperfitting.models.stored import checked_notes, require_finite
from hyperfitting.models.tokenizers import tokenizer_digest
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.records.origins import KnownBase, Origin
from hyperfitting.runs import RunFolder
from hyperfitting.seals import file_digest

# transformers puts an adapter that lies beside whole weights on top of them without a word. It
# looks for one in the subfolder that is named here, and no checkpoint has this one. That of a
# folder is passed over by 5.17, which gets `_whole_alone`.
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


def load_tokenizer(config: ModelConfig) -> Tokenizer:
    """The model's tokenizer. A missing padding token is fine: padding goes by position.

    Raises:
        InputError: it cannot be loaded, or has no end-of-sequence token.
    """
    return load_tokenizer_of(config, require_whole(locate(config)))


def load_tokenizer_of(config: ModelConfig, checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer of a checkpoint, which need hold no model.

    Raises:
        InputError: it cannot be loaded, or has no end-of-sequence token.
    """
    tokenizer = _loaded(AutoTokenizer, config, checkpoint)
    if checkpoint.gguf is not None:
        take_end_of_file(tokenizer, stated_config(checkpoint).get("eos_token_id"))
    give_back_unused()  # of a large vocabulary half of what reading it took
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer of {config.name} has no end-of-sequence token",
            needed="an eos token, to tell where a text ends",
            hint="set it once: tokenizer.eos_token = '...'; tokenizer.save_pretrained(folder)",
        )
    return tokenizer


def _loaded(kind: Any, config: ModelConfig, checkpoint: Checkpoint) -> Any:
    def load() -> Any:
        if checkpoint.gguf is not None and kind is AutoConfig:
            return config_of(checkpoint)
        return kind.from_pretrained(
            checkpoint.path, **checkpoint.options, trust_remote_code=config.trust_remote_code
        )

    with loading(partial(_refused, config, checkpoint)):
        return read_once(kind, checkpoint, load)


def _refused(config: ModelConfig, checkpoint: Checkpoint, error: Exception) -> InputError:
    """The refusal of a model or tokenizer; names the config where that alone cannot be loaded."""
    if checkpoint.gguf is not None:
        return gguf_refused(checkpoint, error)
    if checkpoint.is_local and CONFIG in checkpoint.files and "trust_remote" not in str(error):
        try:
            AutoConfig.from_pretrained(checkpoint.path)
        except Exception as fault:  # anything, as `loading` says
            return InputError(
                f"{CONFIG} of {config.name} cannot be loaded: {reason_of(fault)}",
                needed="the config of a model that transformers "
                f"{transformers.__version__} knows, as it was saved",
            )
    return unavailable(config, error)


def stored_quantization(checkpoint: Checkpoint) -> str | None:
    """How the stored weights are quantised (`gptq`, `awq`, `fp8`, ...); None where they are not.

    Raises:
        InputError: in a way that transformers does not know, and would read as plain weights.
    """
    if checkpoint.gguf is not None:
        return None  # it is dequantised
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


def is_quantized(model: CausalLM) -> bool:
    """Whether a loaded model holds quantised weights: they are not moved, and never train."""
    return bool(getattr(model, "is_quantized", False))


def _placed(
    config: ModelConfig, stored: str | None, gguf: str | None
) -> dict[str, BitsAndBytesConfig | dict[str, torch.device]]:
    """What transformers needs to load quantised weights; nothing for plain ones.

    Raises:
        InputError: they are quantised already, or bitsandbytes is not installed.
    """
    if config.quantization == "none":
        # Quantised weights cannot be moved afterwards: they are placed while loading.
        return {"device_map": {"": choose_device(config)}} if stored else {}
    if gguf:
        raise InputError(
            f"model.quantization is {config.quantization}, and {config.name} is a GGUF file, which "
            "is dequantised",
            needed="model.quantization=none, or the model's own folder or hub id",
        )
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


@contextmanager
def _whole_alone(checkpoint: Checkpoint) -> Iterator[str]:
    """Where whole weights lie; of a folder with an adapter beside them, links to all but that."""
    folder = Path(checkpoint.path)
    if not (checkpoint.has_adapter and folder.is_dir()):
        yield checkpoint.path
        return
    with tempfile.TemporaryDirectory() as alone:
        for each in folder.iterdir():
            if each.name not in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                (Path(alone) / each.name).symlink_to(each.resolve())
        yield alone


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
    placed = _placed(config, stored, checkpoint.gguf)
    refuse = (
        partial(_quantized, config, stored) if stored else partial(_refused, config, checkpoint)
    )
    known = {"config": _loaded(AutoConfig, config, checkpoint)} if checkpoint.gguf else {}
    quantization = stored or (config.quantization if config.quantization != "none" else None)
    with (
        loading(refuse),
        quiet_transformers(),
        without_pickles(config.name),
        without_bar(checkpoint),
        _whole_alone(checkpoint) as path,
    ):
        model, info = AutoModelForCausalLM.from_pretrained(
            path,
            **checkpoint.options,
            trust_remote_code=config.trust_remote_code,
            dtype=DTYPE,
            use_safetensors=True,
            output_loading_info=True,
            adapter_kwargs=WITHOUT_ADAPTER,
            **dequantising(checkpoint),
            **known,
            **placed,
        )
        assert not getattr(model, "_hf_peft_config_loaded", False), "an adapter was loaded too"
        if path != checkpoint.path:  # an adapter that is trained on it names its base by this
            model.name_or_path = model.config._name_or_path = checkpoint.path
        notes = checked_notes(model, info, checkpoint, is_quantized=quantization is not None)
        require_finite(model.named_parameters(), config.name)
    digest_of_file = None
    if checkpoint.gguf is not None:
        notes.append(made_plain(model, checkpoint))
        digest_of_file = file_digest(file_of(checkpoint))
    if quantization is not None and not is_quantized(model):
        notes.append(f"the {quantization} weights of {config.name} were loaded as plain numbers")
    origin = Origin(
        name=config.name, kind="model", revision=config.revision, commit=checkpoint.commit,
        quantization=quantization, file_digest=digest_of_file, notes=notes,
    )  # fmt: skip
    keep_origin(model, origin)
    if not placed:
        model.to(choose_device(config))
    require_causal(model.eval())
    give_back_unused()
    return model


def _quantized(config: ModelConfig, stored: str, error: Exception) -> InputError:
    return InputError(
        f"the weights of {config.name} are quantised ({stored}) and cannot be loaded here: "
        f"{reason_of(error)}",
        needed=f"what transformers needs for {stored} weights, or the unquantised model",
    )


def load_result(run: RunFolder, config: ModelConfig, *, known: KnownBase | None = None) -> CausalLM:
    """The trained model of a run: its own weights, or its adapter on the base model.

    With `known` the base is taken only where it is the one that was trained from.

    Raises:
        InputError: the run holds no result or two, or the adapter does not fit the base.
    """
    from hyperfitting.models.adapter import put_adapter

    if run.adapter.is_dir() and run.model.is_dir():
        raise InputError(f"{run.path} holds both adapter/ and model/", needed="one result")
    own = config.model_copy(update={"name": str(run.result), "revision": None})
    if run.adapter.is_dir():
        base = load_model(config)
        if known is not None:
            require_base(base, known, config)
        return put_adapter(base, locate(own), config, is_known_base=True)
    if run.model.is_dir():
        return load_model(own)
    raise InputError(f"{run.path} holds neither adapter/ nor model/", needed="a finished run")


def require_base(model: CausalLM, known: KnownBase, config: ModelConfig) -> None:
    """Refuse a base model that is not the one runs were trained from.

    Raises:
        InputError: its weights have another digest, or its config says something else.
    """
    hint = "restore that model, or train again"
    if model_digest(model) != known.digest:
        raise InputError(
            f"the weights of {config.name} are not those the runs were trained from",
            needed=f"the base model with digest {known.digest[:12]}…",
            hint=hint,
        )
    if found := first_difference(known.settings or {}, settings_of(model)):
        name, before, now = found
        raise InputError(
            f"the config of {config.name} has changed since the runs were trained: {name} is {now}",
            needed=f"{name}={before}",
            hint=hint,
        )


def load_original(config: ModelConfig, known: KnownBase) -> CausalLM:
    """The base model that a run was trained from, and no other.

    Raises:
        InputError: it cannot be loaded, or its weights or config are others.
    """
    model = load_model(config)
    require_base(model, known, config)
    return model


def require_tokenizer(tokenizer: Tokenizer, digest: str | None, config: ModelConfig) -> None:
    """Refuse a tokenizer that is not the one a run was trained with; of None nothing is known.

    Raises:
        InputError: it has other entries or ends, another template, or reads a text otherwise.
    """
    if digest is not None and tokenizer_digest(tokenizer) != digest:
        raise InputError(
            f"the tokenizer of {config.name} is not the one the run was trained with",
            needed=f"the tokenizer with digest {digest[:12]}…",
            hint="restore the tokenizer's files, or train again",
        )


def load_model_config(config: ModelConfig) -> Any:
    """What the checkpoint says of its architecture, without its weights.

    Raises:
        InputError: it cannot be loaded.
    """
    return _loaded(AutoConfig, config, require_whole(locate(config)))
