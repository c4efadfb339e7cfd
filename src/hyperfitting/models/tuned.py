"""Tuned checkpoints that we did not train: adapters and whole models, and if they fit a base."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.adapter import (
    NamedBase,
    at_named_revision,
    is_same_base,
    named_base,
    put_adapter,
)
from hyperfitting.models.checkpoint import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    TOKENIZER_FILES,
    Checkpoint,
    keep_origin,
    origin_of,
)
from hyperfitting.models.load import load_model, load_model_config, load_tokenizer_of
from hyperfitting.models.located import locate
from hyperfitting.models.pair import require_one_architecture
from hyperfitting.models.tokenizers import PROBE, difference_between, is_set_up_alike
from hyperfitting.models.types import CausalLM, Tokenizer

Kind = Literal["adapter", "model"]
# Of the squared length of what an adapter adds: how far weights may be from those they are taken
# for. Rounding to 16 bits is far below it, another training far above.
NEAR = 1 / 16


def adapter_base(tuned: ModelConfig) -> NamedBase | None:
    """The base model that an adapter names, in a folder or at a hub id; None for a whole model.

    Raises:
        InputError: there is no such checkpoint, or an adapter that names no base.
    """
    checkpoint = locate(tuned)
    named = named_base(checkpoint)
    if named is None and checkpoint.has_adapter and not checkpoint.has_weights:
        raise InputError(
            f"the adapter in {tuned.name} does not name its base model",
            needed="the base model it was trained on",
            hint="--base MODEL",
        )
    return named


def base_of_tuned(tuned: ModelConfig, base: ModelConfig) -> ModelConfig:
    """The base as a tuned checkpoint needs it: at the revision that its adapter names.

    Raises:
        InputError: there is no such checkpoint, or no such base.
    """
    named = named_base(locate(tuned))
    base = at_named_revision(base, named)
    try:
        locate(base)
    except InputError as error:
        if named is None or not is_same_base(base, named):
            raise
        raise InputError(
            f"the adapter in {tuned.name} names a base that is not there: {error.given}",
            needed="the base model it was trained on",
            hint="`evaluate` and `explain` take it as --base MODEL",
        ) from error
    return base


def kind_of_tuned(tuned: ModelConfig, base: ModelConfig) -> Kind:
    """Whether a tuned checkpoint is an adapter to put on its base, or a whole model.

    Beside an adapter, whole weights are the base's (then the adapter is the tuned model) or have
    the adapter merged into them (then they are). The weights themselves tell which.

    Raises:
        InputError: it cannot be loaded, or holds both and they tell neither.
    """
    checkpoint = locate(tuned)
    if not checkpoint.has_adapter:
        return "model"
    if not checkpoint.has_weights:
        return "adapter"
    try:
        whole, plain = (load_model(each).state_dict() for each in (tuned, base))
        merged = _merged(checkpoint, base)
    except InputError as error:
        raise _unclear(checkpoint, f"that cannot be told here: {error.given}") from error
    if whole.keys() != plain.keys() or whole.keys() != merged.keys():
        raise _unclear(checkpoint, f"the weights are not laid out as those of {base.name}")
    added, from_base, from_merged = (
        _squared_distance(*pair) for pair in ((merged, plain), (whole, plain), (whole, merged))
    )
    if from_base <= NEAR * added:
        return "adapter"
    if from_merged <= NEAR * added:
        return "model"
    raise _unclear(checkpoint, f"they are neither those of {base.name} nor with the adapter merged")


def _merged(checkpoint: Checkpoint, base: ModelConfig) -> dict[str, Tensor]:
    adapted = put_adapter(load_model(base), checkpoint, base)
    return dict(adapted.merge_and_unload().state_dict())


def _squared_distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Over all weights; infinite where shapes differ."""
    if any(one[name].shape != other[name].shape for name in one):
        return float("inf")
    return sum(float(torch.sum((one[n].double() - other[n].double()) ** 2)) for n in one)


def _unclear(checkpoint: Checkpoint, reason: str) -> InputError:
    return InputError(
        f"{checkpoint.name} holds whole weights and an adapter, and it is not clear which is the "
        f"tuned model: {reason}",
        needed=f"a folder with the weights alone, or one with {ADAPTER_CONFIG} and "
        f"{ADAPTER_WEIGHTS} alone",
        hint="the weights alone are a model with the adapter merged; the adapter alone is put on "
        "its base",
    )


def load_tuned(
    tuned: ModelConfig, base: ModelConfig, kind: Kind | None = None, *, note: str | None = None
) -> CausalLM:
    """A tuned checkpoint: an adapter on its base, or a whole model.

    `kind` is what `kind_of_tuned` told, where it was asked before. `note` joins those of
    its origin.

    Raises:
        InputError: it cannot be loaded, or does not fit the base.
    """
    checkpoint = locate(tuned)
    notes = [note] if note else []
    if (kind or kind_of_tuned(tuned, base)) == "model":
        model = load_model(tuned)
    else:
        model = put_adapter(load_model(base), checkpoint, base)
        if checkpoint.has_weights:
            whole = f"the whole weights in {tuned.name} are those of {base.name}"
            notes.append(f"{whole}: the adapter is used")
    origin = origin_of(model)
    if notes and origin is not None:
        keep_origin(model, origin.with_notes(*notes))
    return model


def require_same_tokenizer(
    base: ModelConfig, tuned: ModelConfig, tokenizer: Tokenizer, texts: Iterable[str] = ()
) -> str | None:
    """Refuse a tuned checkpoint that reads texts as other tokens than its base does.

    An adapter without a tokenizer uses the base's. Where vocabularies are equal and the tokenizers
    are set up differently, `texts` decide.

    Returns:
        A line for the reader where they are set up differently and read all `texts` alike.

    Raises:
        InputError: the vocabularies or the tokens of a text differ, or there is no such checkpoint.
    """
    checkpoint = locate(tuned)
    if not checkpoint.files & set(TOKENIZER_FILES) and (
        checkpoint.is_local or checkpoint.has_adapter
    ):
        return None
    other = load_tokenizer_of(tuned, checkpoint)
    ours, theirs = tokenizer.get_vocab(), other.get_vocab()
    if ours == theirs:
        return _require_same_tokens(base, tuned, (tokenizer, other), texts)
    differing = sorted(
        token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)
    )
    raise InputError(
        f"{base.name} and {tuned.name} have different tokenizers: {len(ours):,} and "
        f"{len(theirs):,} entries, {len(differing):,} of them differ, for example "
        f"{differing[0]!r}",
        needed="two checkpoints with the same tokenizer: their logits are compared token by token",
    )


def _require_same_tokens(
    base: ModelConfig, tuned: ModelConfig, tokenizers: tuple[Any, Any], texts: Iterable[str]
) -> str | None:
    alike = is_set_up_alike(*tokenizers)
    if differs := difference_between(*tokenizers, () if alike else (list(texts) or PROBE)):
        raise InputError(
            f"{base.name} and {tuned.name} have one vocabulary and read texts as other tokens: "
            f"{differs}",
            needed="two checkpoints with the same tokenizer: their logits are compared token by "
            "token",
            hint=f"if {tuned.name} was trained on the base's tokens, put the base's tokenizer "
            "files into a copy of its folder",
        )
    if alike:
        return None
    return (
        f"the tokenizers of {base.name} and {tuned.name} are set up differently; they read all "
        "texts at hand as the same tokens, and the base's is used"
    )


def require_same_architecture(base: ModelConfig, tuned: ModelConfig) -> None:
    """Refuse a whole model of another architecture before anything is computed.

    An adapter has its base's.

    Raises:
        InputError: they differ, or one cannot be loaded.
    """
    if locate(tuned).has_weights or not locate(tuned).has_adapter:
        require_one_architecture(load_model_config(base), load_model_config(tuned))
