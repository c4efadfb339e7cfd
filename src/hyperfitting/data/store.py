"""Keep a run's windows and contexts as safetensors, so that it can be judged without its source."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hyperfitting.data.windows import Contexts, Dataset, Windows
from hyperfitting.errors import InputError
from hyperfitting.foreign import require_regular


def save_dataset(path: Path, dataset: Dataset) -> None:
    """Write everything a later stage needs of the data into one file."""
    contexts = dataset.contexts
    arrays = {
        "context.ids": np.array([i for ids in contexts.contexts for i in ids], dtype=np.int64),
        "context.length": np.array([len(ids) for ids in contexts.contexts]),
        "continuation.ids": np.array(contexts.continuations, dtype=np.int64),
    }
    for name, windows in (("train", dataset.train), ("heldout", dataset.heldout)):
        arrays[f"{name}.ids"] = np.ascontiguousarray(windows.ids_NT)
        arrays[f"{name}.label"] = np.ascontiguousarray(windows.label_NT)
        arrays[f"{name}.length"] = np.ascontiguousarray(windows.length_N)
    metadata = {"origins": json.dumps(contexts.origins), "account": json.dumps(dataset.account)}
    if dataset.template_date:
        metadata["template_date"] = dataset.template_date
    save_file(arrays, path, metadata=metadata)


def load_dataset(path: Path) -> Dataset:
    """The dataset that `save_dataset` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with safe_open(require_regular(path), framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        borders = np.cumsum(arrays["context.length"])[:-1]
        contexts = Contexts(
            [part.tolist() for part in np.split(arrays["context.ids"], borders)],
            arrays["continuation.ids"].tolist(),
            json.loads(metadata["origins"]),
        )
        train, heldout = (
            Windows(*(arrays[f"{name}.{part}"] for part in ("ids", "label", "length")))
            for name in ("train", "heldout")
        )
        account = json.loads(metadata["account"])
        return Dataset(train, heldout, contexts, account, metadata.get("template_date"))
    except (
        OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError,
    ) as error:  # fmt: skip
        raise InputError(
            f"{path} cannot be read: {error}",
            needed="the windows that training stored with the run",
            hint="the run folder is damaged; train again",
        ) from error
