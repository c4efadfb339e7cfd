"""Errors that a server delivers with the status of a success, as proxies do. Pure."""

from collections.abc import Mapping
from typing import Any

PASSING = (408, 409, 429)  # and 5xx: what the client, too, tries again after
# How servers name in words what has a status, by a part of the word.
_NAMED = {"rate_limit": 429, "overloaded": 503, "invalid_api_key": 401, "authentication": 401}


class ServedError(Exception):
    """An error object in the place of an answer, in the form of the client's own errors."""

    def __init__(self, message: str, status_code: int | None, param: object = None) -> None:
        super().__init__(message)
        self.status_code, self.param = status_code, param

    @property
    def may_pass(self) -> bool:
        """Whether the same question may be answered later."""
        status = self.status_code
        return status is not None and (status in PASSING or status >= 500)


def served_error(completion: Any) -> ServedError | None:
    """The error in a server's answer, of the whole or of its first choice; None without one."""
    found = getattr(completion, "error", None)
    choices = getattr(completion, "choices", None)
    if not found and isinstance(choices, list) and choices:
        found = getattr(choices[0], "error", None)
    if not found:
        return None
    if not isinstance(found, Mapping):
        return ServedError(str(found), None)
    message = found.get("message")
    return ServedError(str(message or dict(found)), _status(found), found.get("param"))


def _status(error: Mapping[str, Any]) -> int | None:
    words = [str(error.get(name)) for name in ("code", "status", "status_code", "type")]
    for word in words:
        if word.isdecimal() and 400 <= int(word) < 600:
            return int(word)
    named = (status for part, status in _NAMED.items() if any(part in word for word in words))
    return next(named, None)


def words_in(answer: Any) -> str:
    """What an answer that is no chat completion says instead; empty where it says nothing."""
    if isinstance(answer, str):
        return answer
    extra = getattr(answer, "model_extra", None)
    return str(extra) if extra else ""
