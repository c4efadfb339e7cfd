"""Models in one .gguf file, as llama.cpp and its kin have them.

transformers opens them: their weights are dequantised to float32, and so is everything that is
saved from them. A file lies here or in a hub repository: `FOLDER/file.gguf`, `org/name/file.gguf`.
"""

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, PreTrainedConfig

from hyperfitting.config import ModelConfig
from hyperfitting.data.hub import ask, is_hub_id
from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.models.checkpoint import (
    UNLOADABLE,
    Checkpoint,
    loading,
    name_few,
    near_model,
    reason_of,
    unavailable,
)
from hyperfitting.models.types import CausalLM, Tokenizer

GGUF = ".gguf"
MAGIC = b"GGUF"
PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_READ: dict[tuple[Any, ...], Any] = {}  # configs and tokenizers of this process


def is_gguf(name: str) -> bool:
    """Whether a name is that of such a file."""
    return name.lower().endswith(GGUF)


def locate_gguf(config: ModelConfig) -> Checkpoint:
    """The checkpoint behind the name of such a file, here or on the hub.

    Raises:
        InputError: there is no such file, it is no GGUF file, or only a part of one.
    """
    if find_spec("gguf") is None:
        raise InputError(
            f"{config.name} is a GGUF file, but the package gguf is not installed",
            needed="the extra: pip install 'hyperfitting[gguf]'",
        )
    if PART.search(config.name):
        raise InputError(
            f"{config.name} is one part of a model",
            needed="the model in one file",
            hint="llama-gguf-split --merge puts the parts together",
        )
    path = Path(config.name).absolute()
    checkpoint = _here(config, path) if path.is_file() else _on_hub(config)
    with file_of(checkpoint).open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise InputError(
                f"{config.name} is no GGUF file: it does not begin with the letters GGUF",
                needed="a .gguf file as it was written",
                hint="fetch it again",
            )
    return checkpoint


def _here(config: ModelConfig, path: Path) -> Checkpoint:
    if config.revision is not None:
        raise InputError(
            f"revision {config.revision!r} is asked of {config.name}, which is a file",
            needed="a file in a hub repository, or no revision",
        )
    return Checkpoint(config.name, str(path.parent), frozenset({path.name}), gguf=path.name)


def _on_hub(config: ModelConfig) -> Checkpoint:
    """Fetches the file: transformers is given where it lies in the hub's cache."""
    owner, _, rest = config.name.partition("/")
    name, _, file = rest.partition("/")
    repository = f"{owner}/{name}"
    if not file or not is_hub_id(repository):
        raise InputError(
            f"the model file {config.name} does not exist",
            needed="a .gguf file, or org/name/file.gguf of a hub repository",
            hint=near_model(config.name),
        )
    answer = ask(repository, "model", config.revision)
    if answer.files is not None and file not in answer.files:
        others = [each for each in answer.files if is_gguf(each)]
        raise InputError(
            f"the hub repository {repository} has no file {file}",
            needed=f"one of {name_few(others)}" if others else "a repository with .gguf files",
            hint=did_you_mean(file, others),
        )
    try:
        found = Path(
            hf_hub_download(
                repository, file, revision=config.revision, local_files_only=answer.files is None
            )
        )
    except UNLOADABLE as error:
        raise unavailable(config, answer.reason or error) from error
    commit = found.parents[len(Path(file).parts) - 1].name
    return Checkpoint(
        config.name, str(found.parent), frozenset({found.name}), config.revision, commit,
        gguf=found.name,
    )  # fmt: skip


def dequantising(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `from_pretrained` needs so that weights are plain: it may keep them in blocks."""
    kind = getattr(transformers, "GgufConfig", None) if checkpoint.gguf else None
    return {"quantization_config": kind(dequantize=True)} if kind else {}


@contextmanager
def without_bar(checkpoint: Checkpoint) -> Iterator[None]:
    """Transformers draws a bar of its own while it dequantises, which no setting hides."""
    with redirect_stderr(StringIO()) if checkpoint.gguf else nullcontext():
        yield


def made_plain(model: CausalLM, checkpoint: Checkpoint) -> str:
    """Mutates `model`: nothing says any more that it is quantised, and it is named by its file.

    Returns:
        A line for the reader.
    """
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        if hasattr(config, "quantization_config"):
            del config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    # What an adapter that is trained on it names as its base.
    here = str(file_of(checkpoint))
    model.name_or_path = model.config._name_or_path = (
        here if checkpoint.is_local else checkpoint.name
    )
    return f"{checkpoint.name} is a GGUF file: its weights were dequantised to float32"


def stated_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the file itself says of its model, without the defaults of a class of configs."""

    def read() -> Any:
        return PreTrainedConfig.get_config_dict(checkpoint.path, gguf_file=checkpoint.gguf)[0]

    found: dict[str, Any] = read_once("stated", checkpoint, read)
    return found


def config_of(checkpoint: Checkpoint) -> Any:
    """The config that transformers makes of such a file, whose defaults it adds."""
    return AutoConfig.for_model(**stated_config(checkpoint), name_or_path=checkpoint.path)


def take_end_of_file(tokenizer: Tokenizer, end: int | None) -> None:
    """Mutates the tokenizer: texts end as the file says, whose end transformers 5.17 passes over.

    `end` is the id that the file states, if it states one.
    """
    if end is not None and tokenizer.eos_token_id != end:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)


def read_once(kind: Any, checkpoint: Checkpoint, load: Callable[[], Any]) -> Any:
    """What `load` makes of a checkpoint; of a GGUF file it is called once while the file stays.

    transformers goes through all that such a file says whenever it is asked for a part of it: ten
    seconds for a vocabulary of 262k. `kind` tells the parts apart. The caller gets its own copy.
    """
    if checkpoint.gguf is None:
        return load()
    path = file_of(checkpoint)
    status = path.stat()
    key = (kind, path, status.st_size, status.st_mtime_ns)
    if key not in _READ:
        _READ[key] = load()
    return copy.deepcopy(_READ[key])


def file_of(checkpoint: Checkpoint) -> Path:
    """Where the file lies."""
    return Path(checkpoint.path, str(checkpoint.gguf))


def stored_types(checkpoint: Checkpoint) -> set[str]:
    """In which types the file holds its tensors, as llama.cpp calls them: F32, F16, Q4_K, ...

    Raises:
        InputError: the file is damaged.
    """
    from gguf import GGUFReader

    with loading(partial(gguf_refused, checkpoint)):
        return {tensor.tensor_type.name for tensor in GGUFReader(file_of(checkpoint)).tensors}


def gguf_refused(checkpoint: Checkpoint, error: Exception) -> InputError:
    """The refusal of a file that transformers cannot open."""
    return InputError(
        f"{checkpoint.name} cannot be opened as a GGUF model: {reason_of(error)}",
        needed="a whole .gguf file of a model family that transformers "
        f"{transformers.__version__} opens from GGUF",
        hint="fetch it again, or give the model's own folder or hub id",
    )
