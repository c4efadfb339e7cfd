"""Arrays of numbers in a JSON file: shape, type and bytes, so that each comes back as it was."""

import base64
import binascii
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator


def _content(array: NDArray[Any]) -> dict[str, Any]:
    """The mapping that a file holds; bytes in the order of small machines, whatever this one is."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    text = base64.b64encode(little.tobytes()).decode("ascii")
    return {"type": array.dtype.name, "shape": list(array.shape), "bytes": text}


def _array(content: Any, kind: str) -> NDArray[Any]:
    """The array of such a mapping; one in memory as it is."""
    if isinstance(content, np.ndarray):
        return content
    fields = content if isinstance(content, Mapping) else {}
    shape, text = fields.get("shape"), fields.get("bytes")
    if fields.get("type") != kind or not isinstance(shape, list) or not isinstance(text, str):
        raise ValueError(f"an array of {kind} with its shape and bytes is needed")
    try:
        content = base64.b64decode(text, validate=True)
        numbers = np.frombuffer(content, np.dtype(kind).newbyteorder("<"))
        return numbers.reshape([int(size) for size in shape]).astype(kind)
    except (binascii.Error, TypeError) as error:  # a size that is no number
        raise ValueError(f"no such array: {error}") from error


def _field(kind: str) -> tuple[PlainValidator, PlainSerializer]:
    return PlainValidator(partial(_array, kind=kind)), PlainSerializer(_content)


Floats = Annotated[NDArray[np.float64], *_field("float64")]
Counts = Annotated[NDArray[np.int64], *_field("int64")]
