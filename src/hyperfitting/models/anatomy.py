"""Where the parts of a model are: the only file that knows how models are built."""

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from hyperfitting.errors import InputError


def decoder_blocks(model: Any) -> dict[str, nn.Module]:
    """The decoder blocks in order, by their full module names.

    They are the one list of modules with as many entries as the config counts layers.

    Raises:
        InputError: no such list, or several.
    """
    count = model.config.get_text_config().num_hidden_layers
    lists = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    }
    outermost = [n for n in lists if not any(n.startswith(f"{other}.") for other in lists)]
    if len(outermost) != 1:
        raise InputError(
            f"cannot tell which modules of a {model.config.model_type!r} model are its blocks: "
            f"{len(outermost)} lists of {count} modules",
            needed="a decoder with one list of blocks",
            hint="--method full_sft needs no blocks",
        )
    return {f"{outermost[0]}.{i}": block for i, block in enumerate(lists[outermost[0]])}


def linear_modules(model: Any, block_names: list[str]) -> list[str]:
    """Full names of every linear layer inside the named blocks."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
        and any(name.startswith(f"{block}.") for block in block_names)
    ]


def stores_weights_transposed(model: Any, modules: list[str]) -> bool:
    """Whether these layers keep (in, out) matrices, as GPT-2's do; PEFT must be told."""
    return all(isinstance(model.get_submodule(name), Conv1D) for name in modules)
