"""What a run is put together from: texts, model and device, checked before its folder exists."""

from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from hyperfitting.config import RunConfig
from hyperfitting.config.methods import METHODS
from hyperfitting.data.windows import Dataset
from hyperfitting.models.devices import (
    Precision,
    cast_weights,
    choose_device,
    choose_precision,
    make_accelerator,
)
from hyperfitting.models.digests import architecture_digest, model_digest, settings_of
from hyperfitting.models.fit import check_fit
from hyperfitting.models.load import (
    is_quantized,
    load_model,
    load_tokenizer,
    stored_quantization,
)
from hyperfitting.models.located import locate, require_whole
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.runs import RunFolder
from hyperfitting.train.methods import prepare, require_trainable
from hyperfitting.train.nulls import NullSource, null_dataset
from hyperfitting.train.trainable import Trainable


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """A model that is ready to be trained on a run's texts, where it will run."""

    run: RunFolder
    config: RunConfig
    dataset: Dataset
    tokens: Tokens
    trainable: Trainable
    device: torch.device
    precision: Precision
    accelerator: Accelerator
    model_digest: str  # of the base, before anything trains
    architecture_digest: str
    base_settings: dict[str, Any]
    progress: Progress


def run_parts(run: RunFolder, config: RunConfig, dataset: Dataset, progress: Progress) -> RunParts:
    """Load the base model, make it trainable as the config's method says, and a null's windows.

    Raises:
        InputError: the model cannot be loaded, does not fit the data, or cannot be trained so.
    """
    config.train.steps_per_epoch(len(dataset.train))
    device = choose_device(config.model)
    precision = choose_precision(config.train.precision, device)
    tokenizer = load_tokenizer(config.model)
    model = _load_to_train(config)
    identity: dict[str, Any] = {
        "model_digest": model_digest(model),
        "architecture_digest": architecture_digest(model),
        "base_settings": settings_of(model),
    }
    tokens = Tokens.of(model, tokenizer)
    if config.data.null == "self_samples" and not is_quantized(model):
        model.to(device)  # it samples what it is: in float32, whatever it is trained in
    dataset = null_dataset(
        dataset,
        NullSource(
            windows=dataset.train, config=config.data, model=model, tokens=tokens,
            progress=progress,
        ),
    )  # fmt: skip
    if precision == "bf16" and METHODS[config.train.method].has_adapters:
        cast_weights(model, torch.bfloat16)
    if not is_quantized(model):
        model.to(device)
    _check_texts(model, dataset, config)
    trainable = prepare(model, config.train)
    accelerator = make_accelerator(
        device, precision, track=config.monitor.track, folder=run.trackers
    )
    return RunParts(
        run=run,
        config=config,
        dataset=dataset,
        tokens=tokens,
        trainable=trainable,
        device=device,
        precision=precision,
        accelerator=accelerator,
        progress=progress,
        **identity,
    )


def _load_to_train(config: RunConfig) -> Any:
    """The base model in main memory; a quantised one where it stays, on its device.

    Raises:
        InputError: it cannot be loaded, or is quantised and the method trains its weights.
    """
    checkpoint = require_whole(locate(config.model))
    stored = stored_quantization(checkpoint)
    require_trainable(config.train, config.model.name, stored)
    if stored or config.model.quantization != "none":
        return load_model(config.model)
    return load_model(config.model.model_copy(update={"device": "cpu"}))


def _check_texts(model: Any, dataset: Dataset, config: RunConfig) -> None:
    largest = max(int(dataset.train.ids_NT.max()), int(dataset.heldout.ids_NT.max()))
    longest = max(map(len, dataset.contexts.contexts)) + config.data.continuation_tokens
    check_fit(model, largest, max(config.data.window_tokens, longest), config.model.name)
