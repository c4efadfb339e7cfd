"""JSON read as it is written: no key twice in an object, and in files of ours no NaN."""

import json
from collections.abc import Sequence
from typing import Any

LONGEST_KEY = 60  # characters of one in a message


def once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; the standard reader would silently keep the last of two equal keys.

    Raises:
        ValueError: a key stands twice.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:LONGEST_KEY]!r} stands twice")
    return content


def _no_number(constant: str) -> Any:
    """Refuse what Python's reader takes beyond JSON: NaN and Infinity."""
    raise ValueError(f"{constant} is no number of JSON")


# Made once: `json.loads` would make one for every line, which takes longer than reading it.
_OURS = json.JSONDecoder(parse_constant=_no_number, object_pairs_hook=once_each)
_FOREIGN = json.JSONDecoder(object_pairs_hook=once_each)


def parse_json(text: str, *, is_ours: bool = True) -> Any:
    """What a JSON text says; where it `is_ours`, every number is one.

    Raises:
        ValueError: it is no JSON, a key stands twice, or it nests without end.
    """
    try:
        return (_OURS if is_ours else _FOREIGN).decode(text)
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
