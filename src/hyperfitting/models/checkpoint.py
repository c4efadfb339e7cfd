"""What stands in a model's folder or hub repository, looked at before anything is loaded.

Whole weights, an adapter, or both; which commit of a hub id; which files are left over. How it is
found stands in `located.py`, what is loaded from it in `load.py` and `adapter.py`; an `Origin` says
of a loaded model where it came from.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError

from hyperfitting.config import ModelConfig
from hyperfitting.data.hub import in_words, near_path
from hyperfitting.errors import HyperfittingError, InputError
from hyperfitting.faults import is_memory
from hyperfitting.foreign import OddNameError, path_inside
from hyperfitting.models.config_file import require_numbers
from hyperfitting.models.pickles import SAFE, pickled
from hyperfitting.models.types import CausalLM
from hyperfitting.records.origins import Origin
from hyperfitting.untrusted import printable

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
UNLOADABLE = (
    ImportError,
    OSError,
    ValueError,
    KeyError,
    RecursionError,  # JSON that nests without end
    HFValidationError,
    SafetensorError,
)
NAMED = 3  # files or tensors that a message names

logger = logging.getLogger(__name__)


_records: list[list[Origin]] = []  # of `recorded_origins` blocks that run now


@contextmanager
def recorded_origins() -> Iterator[list[Origin]]:
    """The origin of every model that is loaded while the block runs, in order."""
    record: list[Origin] = []
    _records.append(record)
    try:
        yield record
    finally:
        _records[:] = [each for each in _records if each is not record]


def keep_origin(model: CausalLM, origin: Origin) -> None:
    """Mutates `model`: it carries its origin, and the log tells the notes, each once."""
    model.hyperfitting_origin = origin
    for record in _records:
        record.append(origin)
    for note in origin.notes:
        _tell(note)


@cache
def _tell(note: str) -> None:
    logger.warning("note: %s", printable(note))


def origin_of(model: CausalLM) -> Origin | None:
    """Where a model was loaded from; None where it was made in memory."""
    found: Origin | None = getattr(model, "hyperfitting_origin", None)
    return found


def name_few(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - NAMED} more" if len(ordered) > NAMED else ""
    return ", ".join(ordered[:NAMED]) + more


@dataclass(frozen=True)
class Checkpoint:
    """The files of a folder or of one commit of a hub repository.

    `is_cached`: the hub does not answer, and what is not in its cache here cannot be had.
    """

    name: str  # as it was given
    path: str  # what transformers is asked for: a folder, or the hub id
    files: frozenset[str]
    asked: str | None = None  # the revision that was asked for
    commit: str | None = None
    is_cached: bool = False
    gguf: str | None = None  # the one file that holds all of it, in `path`

    @property
    def is_local(self) -> bool:
        """Whether it is a folder here."""
        return self.commit is None

    @property
    def has_adapter(self) -> bool:
        """Whether there is a PEFT adapter."""
        return ADAPTER_CONFIG in self.files

    @property
    def has_weights(self) -> bool:
        """Whether there is a whole model in .safetensors or GGUF, alone or beside an adapter."""
        return self.gguf is not None or (CONFIG in self.files and bool(self.weight_files()))

    @property
    def revision(self) -> str | None:
        """What is asked of the hub: one commit for all files.

        Of a repository with pickles only, transformers asks the hub for a conversion; that lies
        on another commit, so nothing is pinned there.
        """
        return self.commit if any(f.endswith(".safetensors") for f in self.files) else self.asked

    @property
    def options(self) -> dict[str, str | bool | None]:
        """What `from_pretrained` needs beside `path`."""
        if self.gguf is not None:
            return {"gguf_file": self.gguf}
        cached = {"local_files_only": True} if self.is_cached else {}
        return {"revision": self.revision, **cached}

    def file(self, name: str) -> Path:
        """One of its files here, fetched from the hub where it must be."""
        if self.is_local:
            return Path(self.path) / name
        return Path(
            hf_hub_download(
                self.path, name, revision=self.revision, local_files_only=self.is_cached
            )
        )

    def read(self, name: str) -> dict[str, Any]:
        """One of its JSON files.

        Raises:
            InputError: it is no JSON object, or holds numbers that are none.
        """
        try:
            content = json.loads(self.file(name).read_text(encoding="utf-8"))
            require_numbers(content, f"{name} of {self.name}")
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"{name} of {self.name} cannot be read: {error}",
                needed="the file as it was saved",
                hint="fetch or save the model again",
            ) from error
        if not isinstance(content, dict):
            raise InputError(
                f"{name} of {self.name} holds no JSON object", needed="the file as it was saved"
            )
        return content

    def weight_files(self) -> tuple[str, ...]:
        """The .safetensors files that transformers reads as a whole model, in its order.

        Raises:
            InputError: an index names files that are not there, or pickles.
        """
        named = self._named_in_config()
        if named is not None and not named.endswith(".index.json"):
            self._require_safe([named], CONFIG)
            return (named,) if named in self.files else ()
        if named is None and WEIGHTS in self.files:
            return (WEIGHTS,)
        index = named or INDEX
        if index not in self.files:
            return ()
        listed = self.read(index).get("weight_map")
        if not isinstance(listed, dict):
            raise InputError(f"{index} of {self.name} has no weight_map", needed="a whole index")
        shards = sorted(set(map(str, listed.values())))
        self._require_safe(shards, index)
        if self.is_local and (absent := set(shards) - self.files):
            raise InputError(
                f"{index} of {self.name} names files that are not there: {name_few(absent)}",
                needed="every file of the model",
            )
        return tuple(shards)

    def _require_safe(self, named: Iterable[str], where: str) -> None:
        """Refuse names of weights, in the file `where`, that are not plain names of .safetensors.

        Raises:
            InputError: one is a pickle's, or leads out of the folder.
        """
        for each in named:
            if not each.endswith(SAFE):
                raise pickled(f"{where} of {self.name} names {each[:100]!r} as weights")
            try:
                path_inside(each)
            except OddNameError as error:
                raise InputError(
                    f"{where} of {self.name} names weights elsewhere: {error.given}",
                    needed="names of files that lie beside it",
                    hint="fetch or save the model again",
                ) from error

    def _named_in_config(self) -> str | None:
        """A file of another name that the config asks for."""
        found = self.read(CONFIG).get("transformers_weights") if CONFIG in self.files else None
        return str(found) if found else None

    def left_over(self) -> list[str]:
        """Lines on weights that are not used where the whole model is loaded."""
        notes = []
        beside = {file for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if file in self.files}
        if ADAPTER_CONFIG in beside:
            notes.append(
                f"{self.name} holds whole weights and an adapter: the weights are used as they "
                f"stand, without {name_few(beside)}"
            )
        used = set(self.weight_files())
        unused = {f for f in self.files if fnmatch(f, "*.safetensors") and "/" not in f}
        if unused := unused - used - beside:
            index = f"those of {INDEX}: " if INDEX in self.files and WEIGHTS in used else ""
            notes.append(
                f"{self.name} holds several sets of weights: {name_few(used)} is used, not "
                f"{index}{name_few(unused)}"
            )
        return notes


def reason_of(error: Exception | str) -> str:
    """The first line of an error, with the next where the first is only its title.

    A line that ends within a quoted word goes on in the next: the word holds a line feed.
    """
    if isinstance(error, KeyError):
        return f"there is no {error}"
    first, *rest = (str(error).strip() or type(error).__name__).splitlines()
    if rest and first.count("`") % 2:
        return f"{first}\\n{rest[0]}"
    return f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first


@contextmanager
def loading(refuse: Callable[[Exception], InputError]) -> Iterator[None]:
    """The one place where what a loader raises becomes a refusal.

    transformers, PEFT, tokenizers, safetensors and a model's own code raise anything on files that
    are damaged or do not belong together. Too little memory says nothing of the files.

    Raises:
        InputError: what `refuse` makes of the error.
    """
    try:
        yield
    except HyperfittingError:
        raise
    except BaseException as error:
        is_panic = type(error).__name__ == "PanicException"  # of Rust, which is no Exception
        if is_memory(error) or not (isinstance(error, Exception) or is_panic):
            raise
        raise refuse(error if isinstance(error, Exception) else ValueError(str(error))) from error


def unavailable(config: ModelConfig, error: Exception | str) -> InputError:
    """The refusal of a checkpoint that cannot be loaded, with the first line of the reason."""
    if isinstance(error, HfHubHTTPError):
        error = in_words(error, "model", config.revision)
    first_line = reason_of(error)
    is_here = config.name == "builtin" or Path(config.name).exists()
    nowhere = "" if is_here else ", and there is no such folder here"
    at = f" at revision {config.revision!r}" if config.revision else ""
    return InputError(
        f"the model {config.name!r}{at} cannot be loaded{nowhere}: {first_line}",
        needed="a folder with config.json, tokenizer and .safetensors weights, a .gguf file, "
        "or the id of a hub model that can be reached",
        hint="--trust-remote-code runs code that the model brings along, if you trust it"
        if "trust_remote_code" in str(error)
        else near_model(config.name)
        if not is_here
        else None,
    )


def near_model(name: str) -> str | None:
    """A hint at a folder with a name much like it."""
    return near_path(name, ["builtin"], folders_only=True)
