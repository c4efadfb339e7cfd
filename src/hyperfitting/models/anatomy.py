"""Where the parts of a model are: the only file that knows how model families are built.

To add a family, add a line to `FAMILIES` and a tiny model of it to `tests/tiny.py`: the tests
then prove that its last blocks, fed from a cache, give the whole model's logits bit for bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hyperfitting.errors import InputError
from hyperfitting.models.types import CausalLM


@dataclass(frozen=True)
class Family:
    """Module names: the decoder inside the model, its blocks and final norm inside it.

    Embeddings and head are found through transformers' own accessors.
    """

    decoder: str
    blocks: str
    norm: str


_LLAMA = Family("model", "layers", "norm")

EXPERTS = "experts"  # how transformers calls the module that holds their matrices
# By the config's `model_type`. A softcap of the logits is read from the config.
FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "phi3": _LLAMA,
    "olmo": _LLAMA,
    "olmo2": _LLAMA,
    "olmo3": _LLAMA,
    "smollm3": _LLAMA,
    "ministral": _LLAMA,
    "ministral3": _LLAMA,
    "stablelm": _LLAMA,
    "starcoder2": _LLAMA,
    "glm4": _LLAMA,
    "exaone4": _LLAMA,
    "ernie4_5": _LLAMA,
    "seed_oss": _LLAMA,
    "hunyuan_v1_dense": _LLAMA,
    "apertus": _LLAMA,
    "mixtral": _LLAMA,
    "qwen2_moe": _LLAMA,
    "qwen3_moe": _LLAMA,
    "olmoe": _LLAMA,
    "gpt2": Family("transformer", "h", "ln_f"),
    "gpt_neox": Family("gpt_neox", "layers", "final_layer_norm"),
}


@dataclass(frozen=True)
class Anatomy:
    """The parts of one model, in the order in which a token passes them."""

    decoder: nn.Module  # everything before the head
    embedding: nn.Module
    blocks: dict[str, nn.Module]  # by full name, in order
    norm_name: str
    norm: nn.Module
    head: Any  # a module with a `weight`; an adapter or a bias may be part of it
    softcap: float | None  # logits are softcap * tanh(logits / softcap)

    def logits(self, hidden_KD: Tensor) -> Tensor:
        """What final norm and head make of hidden states, in float32, [K, V].

        Of the states after the last block these are the model's own logits; of a layer below, what
        the logit lens shows.
        """
        logits_KV: Tensor = self.head(self.norm(hidden_KD))
        if self.softcap is not None:
            logits_KV = torch.tanh(logits_KV / self.softcap) * self.softcap
        return logits_KV.float()


def base_of(model: CausalLM) -> CausalLM:
    """The transformers model beneath an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def is_known_family(model: CausalLM) -> bool:
    """Whether the table says where this model's parts are."""
    return is_known_type(base_of(model).config.model_type)


def is_known_type(model_type: str) -> bool:
    """Whether the table knows what a config calls its model."""
    return model_type in FAMILIES


def anatomy(model: CausalLM) -> Anatomy:
    """The parts of a model (or of the model beneath an adapter).

    Raises:
        InputError: no family of the table, or a layout that is not the family's.
    """
    base = base_of(model)
    kind = base.config.model_type
    if kind not in FAMILIES:
        raise InputError(
            f"models of type {kind!r} are not among the families whose prefix can be cached",
            needed=f"one of {', '.join(FAMILIES)}",
            hint="--prefix-cache off trains the same adapter, recomputing every block each step",
        )
    family = FAMILIES[kind]
    try:
        decoder = base.get_submodule(family.decoder)
        blocks = decoder.get_submodule(family.blocks)
        norm = decoder.get_submodule(family.norm)
    except AttributeError as error:
        blocks = error
    if not isinstance(blocks, nn.ModuleList):
        raise InputError(
            f"this {kind!r} model is not laid out like others of its family: {blocks}",
            needed=f"a list of blocks in {family.decoder}.{family.blocks}",
        )
    head = base.get_output_embeddings()
    path = f"{family.decoder}.{family.blocks}"
    return Anatomy(
        decoder,
        base.get_input_embeddings(),
        {f"{path}.{i}": block for i, block in enumerate(blocks)},
        f"{family.decoder}.{family.norm}",
        norm,
        head,
        getattr(base.config, "final_logit_softcapping", None),
    )


def require_plain_head(model: CausalLM) -> None:
    """Refuse a head that is more than a matrix: training computes its loss from the matrix alone.

    Raises:
        InputError: the head has a bias, or is no linear layer.
    """
    base = base_of(model)
    head = base.get_output_embeddings()
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise InputError(
            f"the head of this {base.config.model_type!r} model is {head}",
            needed="a linear layer without bias, as the family has it",
        )


def decoder_blocks(model: CausalLM) -> dict[str, nn.Module]:
    """The decoder blocks in order, by their full module names, of any model.

    Outside the table they are the one list of modules with as many entries as the config
    counts layers.

    Raises:
        InputError: no such list, or several.
    """
    if is_known_family(model):
        return anatomy(model).blocks
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


def linear_modules(model: CausalLM, block_names: list[str]) -> list[str]:
    """Full names of every linear layer inside the named blocks."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
        and any(name.startswith(f"{block}.") for block in block_names)
    ]


def expert_matrices(model: CausalLM, block_names: list[str]) -> list[str]:
    """Full names of the matrices of all experts inside the named blocks, each [experts, ., .]."""
    return [
        f"{name}.{own}"
        for name, module in model.named_modules()
        if name.rpartition(".")[2] == EXPERTS
        and any(name.startswith(f"{block}.") for block in block_names)
        for own, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 3
    ]


def stores_weights_transposed(model: CausalLM, modules: list[str]) -> bool:
    """Whether these layers keep (in, out) matrices, as GPT-2's do; PEFT must be told."""
    return all(isinstance(model.get_submodule(name), Conv1D) for name in modules)
