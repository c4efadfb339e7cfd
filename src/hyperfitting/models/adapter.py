"""PEFT adapters: which base they name, what they ask for, and putting them on it."""

import copy
import hashlib
import warnings
from functools import partial
from typing import Any, NamedTuple

from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftModel, PromptLearningConfig
from peft import __version__ as peft_version
from torch import Tensor

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Checkpoint,
    keep_origin,
    loading,
    name_few,
    origin_of,
    reason_of,
)
from hyperfitting.models.load import quiet_transformers
from hyperfitting.models.located import folder_of
from hyperfitting.models.pickles import pickled, pickles_among, without_pickles
from hyperfitting.models.stored import require_finite
from hyperfitting.models.types import CausalLM
from hyperfitting.records.origins import Origin


class NamedBase(NamedTuple):
    """The base model that an adapter says it was trained on."""

    name: str
    revision: str | None

    def __str__(self) -> str:
        return self.name + (f" at revision {self.revision}" if self.revision else "")


def named_base(checkpoint: Checkpoint) -> NamedBase | None:
    """The base that an adapter names; None where it names none, or where there is no adapter."""
    if not checkpoint.has_adapter:
        return None
    settings = checkpoint.read(ADAPTER_CONFIG)
    name, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    return NamedBase(str(name), str(revision) if revision else None) if name else None


def is_same_base(base: ModelConfig, named: NamedBase) -> bool:
    """Whether two names are one: the same words, or the same folder."""
    ours, theirs = folder_of(base.name), folder_of(named.name)
    return base.name == named.name or (ours.exists() and ours.resolve() == theirs.resolve())


def at_named_revision(base: ModelConfig, named: NamedBase | None) -> ModelConfig:
    """The base at the revision the adapter was trained on, where the user asks for no other."""
    if named is None or base.revision is not None or not is_same_base(base, named):
        return base
    return base if folder_of(base.name).is_dir() else base.model_copy(update=named._asdict())


def put_adapter(
    model: CausalLM, checkpoint: Checkpoint, base: ModelConfig, *, is_known_base: bool = False
) -> CausalLM:
    """Mutates `model`, the loaded base: every tensor of the adapter is put on it.

    `is_known_base`: `base` is what it was trained on, whatever name the adapter gives it.

    Raises:
        InputError: it has no .safetensors weights, asks for what cannot be done here, or does
            not fit the base.
    """
    notes = _require_usable(checkpoint)
    if not is_known_base:
        notes += _on_another_base(checkpoint, base, model)
    folder = checkpoint.file(ADAPTER_CONFIG).parent
    weights = checkpoint.file(ADAPTER_WEIGHTS)
    assert weights.parent == folder, "both files are of one commit"
    of_base = {id(tensor) for tensor in model.parameters()}
    with (
        loading(partial(_refused, checkpoint, base)),
        quiet_transformers(),
        without_pickles(checkpoint.name),
    ):
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # refused below
        warnings.filterwarnings("ignore", "Unexpected keyword arguments")  # noted above
        adapted = PeftModel.from_pretrained(model, str(folder)).eval()
        # PEFT passes over tensors without a place; only a second loading tells which.
        found = adapted.load_adapter(str(folder), adapted.active_adapter)
    if unplaced := [*found.unexpected_keys, *found.missing_keys]:
        raise _no_fit(
            checkpoint, base, f"{len(unplaced)} tensors have no counterpart, {unplaced[0]}"
        )
    own = ((name, each) for name, each in adapted.named_parameters() if id(each) not in of_base)
    require_finite(own, checkpoint.name)
    digest = hashlib.sha256(weights.read_bytes() + (folder / ADAPTER_CONFIG).read_bytes())
    origin = Origin(
        name=checkpoint.name, kind="adapter", revision=checkpoint.asked, commit=checkpoint.commit,
        digest=digest.hexdigest(), notes=notes,
    )  # fmt: skip
    keep_origin(adapted, origin)
    return adapted


def _refused(checkpoint: Checkpoint, base: ModelConfig, error: Exception) -> InputError:
    """Of what PEFT raises: a base that it does not fit, or files that are damaged."""
    if isinstance(error, RuntimeError | ValueError | KeyError):
        first, *rest = (str(error).strip() or type(error).__name__).splitlines()
        reason = rest[0].strip() if first.endswith(":") and rest else first  # below its title
        return _no_fit(checkpoint, base, reason)
    return InputError(
        f"the adapter in {checkpoint.name} cannot be loaded: {reason_of(error)}",
        needed=f"{ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} as they were saved",
        hint="restore them from a copy, or train again",
    )


def _no_fit(checkpoint: Checkpoint, base: ModelConfig, reason: str) -> InputError:
    return InputError(
        f"the adapter in {checkpoint.name} does not fit {base.name}: {reason}",
        needed="the base model it was trained on",
    )


def _on_another_base(checkpoint: Checkpoint, base: ModelConfig, model: CausalLM) -> list[str]:
    """A line where the adapter names another base, or another revision, than it is put on."""
    named, origin = named_base(checkpoint), origin_of(model)
    if named is None:
        return []
    loaded = (base.revision, origin.commit if origin else None)
    if is_same_base(base, named) and named.revision in (None, *loaded):
        return []
    given = NamedBase(base.name, base.revision or loaded[1])
    return [f"the adapter in {checkpoint.name} names {named} as its base; it is put on {given}"]


def _require_usable(checkpoint: Checkpoint) -> list[str]:
    """Lines on settings of the adapter that are not used.

    Raises:
        InputError: pickle weights, or an adapter that changes texts, needs more than tokens, was
            made for another task or asks for something that the installed PEFT does not know.
    """
    name, settings = checkpoint.name, checkpoint.read(ADAPTER_CONFIG)
    if ADAPTER_WEIGHTS not in checkpoint.files:
        found = pickles_among(file for file in checkpoint.files if "/" not in file)
        beside = f", only {name_few(found)}" if found else ""
        raise pickled(
            f"the adapter in {name} has no {ADAPTER_WEIGHTS}: no .safetensors weights{beside}"
        )
    kind, task = settings.get("peft_type"), settings.get("task_type")
    if not isinstance(kind, str) or kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise InputError(
            f"the adapter in {name} is of type {kind}, which PEFT {peft_version} does not know",
            needed=f"one of {', '.join(sorted(PEFT_TYPE_TO_CONFIG_MAPPING))}",
        )
    known = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    if issubclass(known, PromptLearningConfig):
        raise InputError(
            f"the adapter in {name} is {kind}, which adds tokens to the text",
            needed="an adapter that changes weights, such as LoRA",
        )
    if kind == "XLORA" or settings.get("megatron_config"):
        raise InputError(
            f"the adapter in {name} loads more by name than its own weights: "
            f"{'other adapters (XLORA)' if kind == 'XLORA' else 'a module of Python (megatron)'}",
            needed="an adapter that is whole in its folder",
        )
    if task not in (None, "CAUSAL_LM"):
        raise InputError(
            f"the adapter in {name} was trained for {task}", needed="an adapter for CAUSAL_LM"
        )
    if settings.get("alora_invocation_tokens"):
        raise InputError(
            f"the adapter in {name} is switched on by tokens in the text (alora_invocation_tokens)",
            needed="an adapter that holds for every token",
        )
    unknown = {
        key: value
        for key, value in settings.items()
        if key not in known.__dataclass_fields__ and value not in (None, False, "", [], {})
    }
    if asked := [key for key, value in unknown.items() if value is True]:
        raise InputError(
            f"the adapter in {name} switches on what PEFT {peft_version} does not know: "
            f"{name_few(asked)}",
            needed="a PEFT that knows it: pip install -U peft",
        )
    if not unknown:
        return []
    return [
        f"the adapter in {name} sets what PEFT {peft_version} does not know and does not use: "
        f"{name_few(f'{key}={value!r}' for key, value in unknown.items())}"
    ]


def weight_with_adapter(module: Any) -> Tensor:
    """A linear layer's matrix with what its adapters add, in the layer's own layout.

    The layer stays as it is: its weights may be another model's tensors too.
    """
    return parameters_with_adapter(module)["weight"]


def parameters_with_adapter(module: Any) -> dict[str, Tensor]:
    """A module's own parameters with what its adapters add, by their names in it."""
    if hasattr(module, "get_base_layer"):
        module = copy.deepcopy(module)
        inner = module.get_base_layer()
        while module is not inner:  # experts have a layer around them for each parameter
            module.merge()
            module = module.base_layer
    return {name: parameter.detach() for name, parameter in module.named_parameters(recurse=False)}
