"""Find the files behind a model's name, and refuse what is no whole model before it is loaded.

A name is `builtin`, a folder, a .gguf file here or in a hub repository, or a hub id.
"""

from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from hyperfitting.builtin import MODEL_FOLDER
from hyperfitting.config import ModelConfig
from hyperfitting.data.hub import ask, is_hub_id
from hyperfitting.errors import InputError
from hyperfitting.models.checkpoint import (
    ADAPTER_CONFIG,
    CONFIG,
    INDEX,
    TOKENIZER_FILES,
    UNLOADABLE,
    WEIGHTS,
    Checkpoint,
    name_few,
    near_model,
    unavailable,
)
from hyperfitting.models.config_file import require_sizes
from hyperfitting.models.gguf_file import is_gguf, locate_gguf
from hyperfitting.models.pickles import SAFE, pickled, pickles_among


def folder_of(name: str) -> Path:
    """The folder that a name means, where it is one; `builtin` is."""
    return MODEL_FOLDER if name == "builtin" else Path(name)


def locate(config: ModelConfig) -> Checkpoint:
    """The files behind a name: the built-in model's, a folder's, or a hub id's at its revision.

    Raises:
        InputError: there is no such folder, file or hub id, or a revision is asked of a folder.
    """
    folder = folder_of(config.name)
    if is_gguf(config.name) and not folder.is_dir():
        return locate_gguf(config)
    if not folder.is_dir():
        return _on_hub(config)
    if config.revision is not None:
        raise InputError(
            f"revision {config.revision!r} is asked of {config.name}, which is a folder",
            needed="a hub id, or no revision",
        )
    found = [*folder.glob("*"), *folder.glob(f"*/{CONFIG}"), *folder.glob(f"*/{ADAPTER_CONFIG}")]
    names = frozenset(path.relative_to(folder).as_posix() for path in found if path.is_file())
    # The whole path: an adapter that is trained on it names its base by it.
    return Checkpoint(config.name, str(folder.absolute()), names)


def _on_hub(config: ModelConfig) -> Checkpoint:
    name = config.name
    if Path(name).is_file() or not is_hub_id(name):
        raise InputError(
            f"the model folder {name} does not exist",
            needed="`builtin`, a folder that save_pretrained wrote, a .gguf file, or a hub id such "
            "as org/name",
            hint=near_model(name),
        )
    answer = ask(name, "model", config.revision)
    is_cached = answer.files is None
    for file in (CONFIG, ADAPTER_CONFIG):
        if answer.files is not None and file not in answer.files:
            continue
        try:
            # As asked, not by commit: the cache then knows the revision without a network.
            anchor = Path(
                hf_hub_download(name, file, revision=config.revision, local_files_only=is_cached)
            )
        except EntryNotFoundError:
            continue
        except UNLOADABLE as error:
            raise unavailable(config, error) from error
        snapshot = anchor.parent
        cached = (path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*"))
        files = frozenset(cached) if answer.files is None else answer.files
        return Checkpoint(name, name, files, config.revision, snapshot.name, is_cached)
    raise unavailable(
        config, answer.reason or f"on the hub it has neither {CONFIG} nor {ADAPTER_CONFIG}"
    )


def require_whole(checkpoint: Checkpoint) -> Checkpoint:
    """Refuse a checkpoint without config, whole .safetensors weights or (a folder) tokenizer.

    Raises:
        InputError: what is missing, and what stands there instead; or what no model can be.
    """
    name, files = checkpoint.name, checkpoint.files
    if checkpoint.gguf is not None:
        return checkpoint
    if not checkpoint.has_weights and checkpoint.has_adapter:
        raise InputError(
            f"{name} has no {'weights' if CONFIG in files else CONFIG}: it holds an adapter",
            needed="the folder or hub id of a whole model",
            hint="give the base model that the adapter belongs to; `generate` and "
            "`evaluate --tuned` take adapters",
        )
    if CONFIG not in files:
        raise InputError(
            f"{name} has no {CONFIG}", needed="the folder of a whole model", hint=_below(checkpoint)
        )
    if not checkpoint.has_weights and checkpoint.is_local:
        raise _without_weights(checkpoint)
    if checkpoint.is_local and not any(file in files for file in TOKENIZER_FILES):
        raise InputError(
            f"{name} has no tokenizer",
            needed=f"one of {', '.join(TOKENIZER_FILES)}",
            hint="save the model's tokenizer there: tokenizer.save_pretrained(folder)",
        )
    require_sizes(checkpoint.read(CONFIG), f"{CONFIG} of {name}")
    return checkpoint


def _below(checkpoint: Checkpoint) -> str | None:
    """A hint at the folders below that hold a checkpoint, or at GGUF files."""
    if files := [file for file in checkpoint.files if is_gguf(file)]:
        return f"name a file: {name_few(f'{checkpoint.name}/{file}' for file in files)}"
    folders = {file.rpartition("/")[0] for file in checkpoint.files if "/" in file}
    if not folders or not checkpoint.is_local:
        return None
    return f"checkpoints stand below it: {name_few(f'{checkpoint.name}/{f}' for f in folders)}"


def _without_weights(checkpoint: Checkpoint) -> InputError:
    others = {f for f in checkpoint.files if fnmatch(f, "*.safetensors")}
    pickles = pickles_among(checkpoint.files)
    if others:
        return InputError(
            f"{checkpoint.name} has neither {WEIGHTS} nor {INDEX}, only {name_few(others)}",
            needed="weights under the names that save_pretrained gives them",
            hint="rename a file that is the whole model; parts of one need their index",
        )
    if pickles:
        return pickled(f"{checkpoint.name} has only pickle weights ({name_few(pickles)})")
    return InputError(
        f"{checkpoint.name} has no weights",
        needed=f"weights in {SAFE}",
        hint=_below(checkpoint),
    )
