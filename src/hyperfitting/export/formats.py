"""The formats of an export: what is written, what of it is read back, and what it promises.

To add a format, add a function and a line to `FORMATS`.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hyperfitting.config import ModelConfig
from hyperfitting.config.export import ExportConfig
from hyperfitting.errors import MachineError
from hyperfitting.export.gguf import by_hand, conversion, convert
from hyperfitting.export.modelfile import frame_of, modelfile
from hyperfitting.models.load import load_original, load_result
from hyperfitting.models.merged import (
    STORED,
    greedy_settings,
    merged,
    save_merged,
    save_plain_adapter,
    save_tokenizer,
    stored_dtype,
)
from hyperfitting.models.sentencepiece_file import add_sentencepiece
from hyperfitting.models.strength import at_strength
from hyperfitting.models.tokens import Tokens
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.progress import Progress, in_bytes
from hyperfitting.records.manifest import RunManifest
from hyperfitting.runs import ExportFolder, RunFolder
from hyperfitting.storage import free_disk


@dataclass(frozen=True)
class Job:
    """What is exported: a run at a strength, its base and tokenizer, and under which name."""

    run: RunFolder
    manifest: RunManifest
    base: ModelConfig
    base_name: str
    tokenizer: Tokenizer
    config: ExportConfig
    name: str
    out: Path  # where the export will lie; it is written elsewhere first
    progress: Progress

    def model(self) -> CausalLM:
        """The run's result as it was trained, at the strength that is asked for."""
        known = self.manifest.known_base
        model = load_result(self.run, self.base, known=known)
        return at_strength(model, partial(load_original, self.base, known), self.config.strength)

    @property
    def dtype(self) -> str:
        """The type of merged weights."""
        asked = self.config.dtype
        return stored_dtype(self.base) if asked == "auto" else asked


@dataclass(frozen=True)
class Made:
    """What was written, in which type, and what of it is read back, seen from its folder."""

    dtype: str
    reads: str | None = "."  # None: it is still to be converted
    notes: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)  # that are left to the user


def _adapter(job: Job, folder: ExportFolder) -> Made:
    """A plain LoRA in PEFT's format, with the tokenizer."""
    notes = save_plain_adapter(
        job.run.adapter, folder.path, strength=job.config.strength, base=job.base_name
    )
    save_tokenizer(job.tokenizer, job.base, folder.path)
    return Made("float32", notes=notes)


def _write_merged(job: Job, path: Path, dtype: str, *, beside: float = 0) -> None:
    """Whole weights and tokenizer; `beside`: bytes a weight that are made of them afterwards."""
    path.mkdir(parents=True, exist_ok=True)
    model = job.model()
    size = sum(p.numel() for p in model.parameters())
    require_room(job.out, size * (STORED[dtype].itemsize + beside))
    tokens = Tokens.of(model, job.tokenizer)
    with job.progress.stage(f"merge and write in {dtype}"):
        save_merged(merged(model), greedy_settings(model, tokens.ends), path, dtype)
        save_tokenizer(job.tokenizer, job.base, path)


def _merged(job: Job, folder: ExportFolder) -> Made:
    """A whole model in transformers' format."""
    _write_merged(job, folder.path, job.dtype)
    return Made(job.dtype)


def _gguf(job: Job, folder: ExportFolder) -> Made:
    """One file for llama.cpp and its kin, made by its own converter from float32."""
    # A file of few bits is made by way of one in float32.
    _write_merged(job, folder.merged, "float32", beside=8 if job.config.llama_cpp else 0)
    notes = add_sentencepiece(job.tokenizer, folder.merged)
    kind = job.config.gguf_type
    target = folder.gguf_file(job.name, kind)
    if job.config.llama_cpp is None:
        notes.append("llama.cpp was not given (--llama-cpp): the GGUF file is still to be made")
        return Made(kind, None, notes, by_hand(job.config, folder.merged, target))
    with job.progress.stage(f"convert to GGUF, {kind}"):
        convert(conversion(job.config, folder.merged, target), target)
    shutil.rmtree(folder.merged)
    return Made(kind, target.name, notes)


def _ollama(job: Job, folder: ExportFolder) -> Made:
    """A Modelfile with a GGUF file beside it, or with weights that Ollama converts itself."""
    if job.config.llama_cpp:
        made = _gguf(job, folder)
    else:
        made = _merged(job, folder)
        made.notes.extend(add_sentencepiece(job.tokenizer, folder.path))
    frame = frame_of(job.tokenizer)
    is_chat = bool(getattr(job.tokenizer, "chat_template", None))
    ends = [str(job.tokenizer.convert_ids_to_tokens(end.id)) for end in job.manifest.ends]
    source = "." if made.reads == "." else f"./{made.reads}"
    text = modelfile(source, ends, frame, is_chat=is_chat)
    folder.modelfile.write_text(text, encoding="utf-8")
    notes = [*made.notes]
    if is_chat and frame is None:
        notes.append("its chat template does more than frame messages: no TEMPLATE is written")
    return Made(made.dtype, made.reads, notes, made.commands)


def _mlx(job: Job, folder: ExportFolder) -> Made:
    """A whole model in transformers' format, which mlx-lm reads."""
    made = _merged(job, folder)
    return Made(made.dtype, notes=["mlx-lm was not tried here: it reads these files"])


class Form(NamedTuple):
    """How a format is written, and which of the settings it has."""

    write: Callable[[Job, ExportFolder], Made]
    has_dtype: bool = False
    has_gguf: bool = False


FORMATS = {
    "adapter": Form(_adapter),
    "merged": Form(_merged, has_dtype=True),
    "gguf": Form(_gguf, has_gguf=True),
    "ollama": Form(_ollama, has_dtype=True, has_gguf=True),
    "mlx": Form(_mlx, has_dtype=True),
}


def require_room(path: Path, size: float) -> None:
    """Refuse a disk on which so many bytes do not fit.

    Raises:
        MachineError: they do not.
    """
    free, existing = free_disk(path)
    if free < size:
        raise MachineError(
            f"the export takes {in_bytes(size)}; {in_bytes(free)} are free at {existing}",
            needed="more disk, or another --out",
            hint="--format adapter and smaller types (dtype=bfloat16) take less",
        )
