"""Chat messages as people store them: lists, JSON in a text column, padded by a columnar file."""

import ast
import json
from collections.abc import Mapping
from typing import Any

from hyperfitting.data.template import Message
from hyperfitting.errors import InputError

# How tools mark a message that is not to be learnt, by 0 or false: OpenAI; axolotl; ms-swift.
_LEARNT = ("weight", "train", "training", "loss")
NEEDED = "messages such as {'role': 'user', 'content': '...'}"


DEEPEST = 64  # levels of lists and mappings in a row; messages have 5, schemas of functions 20


def check_depth(value: Any, where: str) -> None:
    """Refuse a row that nests deeper than a chat template or we can follow.

    Raises:
        InputError: it does.
    """
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise InputError(
                f"{where} nests deeper than {DEEPEST} levels",
                needed=f"lists and mappings of at most {DEEPEST} levels",
            )
        inner = [each.values() if isinstance(each, Mapping) else each for each in level
                 if isinstance(each, (Mapping, list, tuple))]  # fmt: skip
        level = [each for values in inner for each in values]


def without_nulls(value: Any) -> Any:
    """The value without the keys that a columnar file fills up with null, at any depth."""
    if isinstance(value, Mapping):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, (list, tuple)):
        return [without_nulls(each) for each in value]
    return value


def parse_list(text: str) -> list[Any] | None:
    """The list that a text holds as JSON, or as Python writes it; None for any other text."""
    if not text.lstrip().startswith("["):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, list):
            return found
    return None


def is_conversation(value: Any) -> bool:
    """Whether this is a list of messages with a role each."""
    return isinstance(value, (list, tuple)) and all(
        isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in value
    )


def check_messages(value: Any, where: str) -> tuple[Message, ...]:
    """The messages of a row, without keys that say nothing.

    Raises:
        InputError: no messages, or a content that is no text; names the kind of part.
    """
    if not is_conversation(value):
        keys = {key for m in value if isinstance(m, Mapping) for key in m}
        raise InputError(
            f"{where} is a list, but not of chat messages",
            needed=f"a text, or {NEEDED}",
            hint="rename `from` to `role` and `value` to `content`, and the roles to system, "
            "user and assistant"
            if {"from", "value"} <= keys
            else None,
        )
    return tuple(_message(m, f"{where}, message {n}") for n, m in enumerate(value, start=1))


def _message(message: Mapping[str, Any], where: str) -> Message:
    # Null, or no call at all, is how tools write "this key is not used here".
    kept = {k: v for k, v in message.items() if v is not None and (k, v) != ("tool_calls", [])}
    if isinstance(kept.get("tool_calls"), str):
        kept["tool_calls"] = parse_list(kept["tool_calls"])
    if not isinstance(kept.get("tool_calls", []), (list, tuple)):
        raise InputError(f"{where} has tool_calls that are no list", needed="a list of calls")
    for key in _LEARNT:
        if kept.get(key, 1) not in (0, 1):
            raise InputError(
                f"{where} has {key} {kept[key]!r}",
                needed=f"0 or 1 (false or true) as {key}: a message is learnt or it is not",
                hint="rename the key if it is about something else",
            )
    content = kept.get("content", "")
    if isinstance(content, (list, tuple)):
        for part in content:
            _check_part(part, where)
    elif not isinstance(content, str):
        raise InputError(
            f"{where} holds {type(content).__name__} as its content", needed="text, or text parts"
        )
    return kept


def _check_part(part: Any, where: str) -> None:
    if isinstance(part, str):
        return
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if kind != "text" or not isinstance(part.get("text"), str):
        raise InputError(
            f"{where} holds a part of the kind {kind!r}",
            needed="parts such as {'type': 'text', 'text': '...'}: only text is trained on",
            hint="leave these rows out, or put the text of such parts into text parts",
        )


def is_not_learnt(message: Message) -> bool:
    """Whether the row says of a message that it is not to be learnt."""
    return any(not message.get(key, True) for key in _LEARNT)


def says_nothing(message: Message) -> bool:
    """Whether a message has a role and nothing else."""
    return not any(value for key, value in message.items() if key not in ("role", *_LEARNT))


def called_functions(messages: tuple[Message, ...]) -> list[str]:
    """Names of the functions that the messages call, in order."""
    calls = [call for m in messages for call in m.get("tool_calls") or ()]
    functions = [c.get("function", c) if isinstance(c, Mapping) else {} for c in calls]
    return [str(f["name"]) for f in functions if isinstance(f, Mapping) and "name" in f]
