"""The model of a finished run as it was at one of its checkpoints."""

import torch
from torch import Tensor

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import keep_origin, origin_of
from hyperfitting.models.load import load_result
from hyperfitting.models.types import CausalLM
from hyperfitting.records.origins import Origin
from hyperfitting.runs import RunFolder
from hyperfitting.train.checkpoints import Checkpoints
from hyperfitting.train.manifest import checkpoint_about


def require_checkpoint(run: RunFolder, step: int, hint: str) -> None:
    """Refuse a step without a whole checkpoint, before anything is loaded.

    Raises:
        InputError: it is gone, damaged or of another run; `hint` says what to do.
    """
    try:
        Checkpoints(run.checkpoints, checkpoint_about(run.manifest())).require(step)
    except InputError as error:
        raise InputError(error.given, needed=error.needed, hint=hint) from error


def load_checkpoint_result(run: RunFolder, model_config: ModelConfig, step: int) -> CausalLM:
    """The trained model after `step` steps, in evaluation mode; `load_result` gives the last one.

    The result of the run is loaded and the trained tensors of `checkpoints/step-N` replace its
    own; all others were frozen. A PiSSA adapter is trained on a base whose largest directions
    were moved into it, and saved as [A; A0] and [B, -B0] of twice the rank for the base as it
    was (A0 and B0: the start; see `train.lora.save_adapter`). There, A and B alone are replaced,
    so the start is the one training had, not one computed again.

    Args:
        run: a finished run.
        model_config: its base model, and where that is put (a device, a quantisation).
        step: optimiser steps done, at least 1; one whose checkpoint was kept.

    Raises:
        InputError: the run did not finish, there is no whole checkpoint of this step, or its
            tensors are not those of the result.
    """
    manifest = run.manifest()
    weights = Checkpoints(run.checkpoints, checkpoint_about(manifest)).weights(step)
    model = load_result(run, model_config)
    parameters = dict(model.named_parameters())
    if absent := set(manifest.trainable.names) - set(weights):
        raise InputError(
            f"the checkpoint of step {step} in {run.path} lacks {len(absent)} of the tensors that "
            f"were trained: {min(absent)}",
            needed="a run whose result and checkpoints are those that training wrote",
        )
    has_start = run.adapter.is_dir() and manifest.settings.train.lora.init == "pissa"
    with torch.no_grad():
        for name, value in weights.items():
            tensor = parameters.get(name)
            if tensor is not None and has_start:
                tensor = _without_start(name, tensor)
            if tensor is None or tensor.shape != value.shape:
                raise InputError(
                    f"the checkpoint of step {step} in {run.path} does not fit the result: {name}",
                    needed="a run whose result and checkpoints are those that training wrote",
                )
            tensor.copy_(value)
    # The digest of the result's files is not that of this step.
    origin = origin_of(model)
    notes = origin.notes if origin else []
    place = str(run.checkpoints / f"step-{step}")
    keep_origin(model, Origin(name=place, kind="model", notes=notes))
    return model.eval()


def _without_start(name: str, tensor: Tensor) -> Tensor:
    """The trained half, a view, of an adapter tensor that PEFT converted from PiSSA.

    A is [2R, inputs] and B [outputs, 2R], R the rank in training; the start stands second.
    """
    return tensor.chunk(2, dim=0 if ".lora_A." in name else 1)[0]
