"""Choose the engine of a run: which blocks it computes, from a cache or not, compiled or not."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hyperfitting.config import TrainConfig
from hyperfitting.config.methods import METHODS
from hyperfitting.data.windows import Windows
from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import (
    Anatomy,
    anatomy,
    base_of,
    decoder_blocks,
    expert_matrices,
    is_known_family,
    require_plain_head,
)
from hyperfitting.models.blocks import Tail, hidden_entering
from hyperfitting.models.interface import crosses_switch, rope_switch
from hyperfitting.models.load import is_quantized
from hyperfitting.models.types import CausalLM
from hyperfitting.progress import Progress
from hyperfitting.train.engine import Engine, Source, TailEngine, WholeModelEngine
from hyperfitting.train.prefix_cache import CacheKey, HiddenStore, make_store
from hyperfitting.train.products import use_adapted_products
from hyperfitting.train.trainable import Trainable

# `compile: auto` compiles where that pays: on a GPU from so many steps on, on a CPU from so many
# floating-point operations on (some 20 minutes on two cores; compiling takes half of one).
GPU_STEPS, CPU_OPERATIONS = 1_000, 2e14


@dataclass(frozen=True)
class Setup:
    """An engine with its training and validation windows."""

    engine: Engine
    train: Source
    heldout: Source
    notes: list[str]  # what the log says about it
    prefix_seconds: float = 0.0  # spent on the prefix cache


def first_trained_block(trainable: Trainable) -> int:
    """0-based index of the lowest block that trains; 0 where everything does."""
    return min(trainable.blocks) if trainable.blocks else 0


def set_up(
    trainable: Trainable,
    train: Windows,
    heldout: Windows,
    config: TrainConfig,
    *,
    autocast: Callable[[], Any],
    device: torch.device,
    model_digest: str,
    cache_folder: Path,
    progress: Progress,
) -> Setup:
    """Build the engine and the sources it reads from.

    Raises:
        InputError: windows that need two ropes, a model of an unknown family with a prefix
            cache, a head with a bias, no room for the cache, or `compile: on` without a compiler.
    """
    for windows in (train, heldout):
        _require_one_rope(trainable.model, windows)
    left_out = _left_out(trainable, config)
    is_late = METHODS[config.method].is_late
    caches = is_late and config.prefix_cache.place != "off"
    if not is_known_family(trainable.model) and not caches:
        _refuse_tail_options(config, trainable)
        engine = WholeModelEngine(trainable.model, autocast)
        note = f"a model of type {base_of(trainable.model).config.model_type!r}: full logits"
        return Setup(engine, Source(train, device), Source(heldout, device), [note, *left_out])
    parts = anatomy(trainable.model)
    require_plain_head(trainable.model)
    cut = first_trained_block(trainable)
    tail = Tail(parts, cut, checkpointing=config.gradient_checkpointing)
    tail_engine = TailEngine(parts, tail, autocast, prefix_trains=trainable.blocks is None)
    sources = [Source(train, device), Source(heldout, device)]
    for source in sources:
        tail_engine.learn_shape(source, config.batch_size)
    notes = list(left_out)
    if use_adapted_products(trainable.model):
        notes.append("LoRA products through one matrix each in float32")
    start = time.perf_counter()
    if caches:
        for source, windows, place in zip(
            sources, (train, heldout), (config.prefix_cache.place, "ram"), strict=True
        ):
            key = _cache_key(parts, source, windows, cut, config, autocast, model_digest)
            source.store = _store(key, source, parts, place, cache_folder, autocast, progress)
        if not is_quantized(base_of(trainable.model)):
            tail_engine.release()  # quantised weights do not survive being moved
    prefix_seconds = time.perf_counter() - start
    if _compiles(config, tail_engine, sources[0], device):
        # CUDA graphs would overwrite gradients that accumulate over several replays.
        graphs = device.type == "cuda" and config.gradient_accumulation == 1
        mode = "reduce-overhead" if graphs else "default"
        tail_engine.compiled = torch.compile(tail, dynamic=False, mode=mode)
        notes.append("trained blocks compiled (train.compile)")
    return Setup(tail_engine, sources[0], sources[1], notes, prefix_seconds)


def _require_one_rope(model: CausalLM, windows: Windows) -> None:
    """Refuse windows whose padding, and not their text, decides how positions are turned.

    Raises:
        InputError: some are longer than the model's short rope serves, and some are not.
    """
    model_config = base_of(model).config
    if crosses_switch(model_config, windows.length_N.tolist()):
        switch = rope_switch(model_config)
        raise InputError(
            f"windows of {windows.length_N.min()} to {windows.length_N.max()} tokens, and a "
            f"{model_config.model_type!r} model reads rows of more than {switch} tokens with "
            "another rope: shorter ones, filled up beside longer ones, would be trained with it",
            needed=f"data.window_tokens={switch} or fewer, or data.windows=fixed",
        )


def _refuse_tail_options(config: TrainConfig, trainable: Trainable) -> None:
    chosen = [
        name
        for name, on in (
            ("gradient_checkpointing", config.gradient_checkpointing),
            ("compile", config.compile == "on"),
        )
        if on
    ]
    if chosen:
        raise InputError(
            f"train.{chosen[0]} is on, and a {base_of(trainable.model).config.model_type!r} model "
            "is none of the families whose blocks are run one by one",
            needed="a model of a known family, or without this setting",
        )


def _cache_key(
    parts: Anatomy,
    source: Source,
    windows: Windows,
    cut: int,
    config: TrainConfig,
    autocast: Callable[[], Any],
    model_digest: str,
) -> CacheKey:
    with torch.no_grad(), autocast():  # one window shows dtype and width
        hidden_BTD = hidden_entering(parts, source.ids_NT[:1], cut)
    return CacheKey(
        model_digest=model_digest,
        data_digest=windows.digest(),
        cut=cut,
        dtype=str(hidden_BTD.dtype).removeprefix("torch."),
        batch_size=config.batch_size,
        num_windows=len(source),
        num_tokens=hidden_BTD.shape[1],
        width=hidden_BTD.shape[2],
        device=source.device.type,
    )


def _store(
    key: CacheKey,
    source: Source,
    parts: Anatomy,
    place: Any,
    folder: Path,
    autocast: Callable[[], Any],
    progress: Progress,
) -> HiddenStore:
    with autocast():
        return make_store(parts, source.ids_NT, key, place, folder, source.device, progress)


def _left_out(trainable: Trainable, config: TrainConfig) -> list[str]:
    """A line where adapters are on the blocks of a mixture of experts and not on the experts."""
    if not trainable.has_adapter or config.lora.experts:
        return []
    model = base_of(trainable.model)
    found = expert_matrices(model, list(decoder_blocks(model)))
    return ["the experts stay as they are: train.lora.experts=true adapts them too"] * bool(found)


def _compiles(
    config: TrainConfig, engine: TailEngine, source: Source, device: torch.device
) -> bool:
    """Whether the tail is compiled.

    Raises:
        InputError: `compile: on`, and there is no compiler.
    """
    if config.compile == "off":
        return False
    variable, usual = ("CC", "gcc") if device.type == "cuda" else ("CXX", "g++")
    compiler = shutil.which(os.environ.get(variable, usual))
    if config.compile == "on" and not compiler:
        raise InputError(
            f"train.compile is on, but there is no compiler {usual}",
            needed=f"{usual} (or another one, named by the environment variable {variable})",
            hint="train.compile=off trains the same, more slowly",
        )
    if config.compile == "on":
        return True
    steps = config.epochs * (len(source) // config.batch_size)
    if device.type == "cuda":
        return bool(compiler) and steps >= GPU_STEPS
    matrices = sum(p.numel() for block in engine.tail.blocks for p in block.parameters())
    per_token = 4 * (matrices + engine.parts.head.weight.numel())
    operations = steps * config.batch_size * source.ids_NT.shape[1] * per_token
    return bool(compiler) and operations >= CPU_OPERATIONS
