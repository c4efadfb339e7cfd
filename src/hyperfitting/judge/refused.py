"""Which of our two optional settings a server refuses, from its own words. Pure.

There is no agreed form: OpenAI names the parameter in a field, others in a sentence, a validator
in the place where it failed.
"""

import re

# As servers call them, to ours. A proxy may have translated ours into its provider's.
_NAMES = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "maxOutputTokens": "max_tokens",
    "temperature": "temperature",
}
_NAME = re.compile(rf"(?<!\w)(?:{'|'.join(_NAMES)})(?!\w)")
# A validator repeats what it was given: the judged texts, in which any word may stand.
_ECHO = re.compile(r"""["']input["']\s*:\s*(?!(?:-?[\d.]+|None|null)\b)""")
_CONTEXT = re.compile(r"context[ _-]?(?:length|window|size)|\bat least 1, got -", re.IGNORECASE)
_SIZE = re.compile(
    r"too (?:large|long|many|high)|exceed|at most|must be <=|less than or equal|supports? up to"
    r"|maximum (?:value|allowed)",
    re.IGNORECASE,
)


def words_of(error: BaseException) -> str:
    """What a server said: the client quotes a `message` and leaves other forms in the body."""
    body = getattr(error, "body", None)
    is_quoted = not body or (isinstance(body, dict) and body.get("message"))
    return str(error) if is_quoted else f"{error} - {body}"


def refused_option(message: str, param: object = None) -> str | None:
    """The setting, `max_tokens` or `temperature`, that a refusal is about; None for another.

    `param` is the field in which OpenAI names it. Without it the first name in the message
    counts, because the rest may be advice ("use max_completion_tokens instead").
    """
    if param:
        return _NAMES.get(str(param).rsplit(".", 1)[-1])
    found = _NAME.search(_ECHO.split(message, maxsplit=1)[0])
    return _NAMES[found.group()] if found else None


def leaves_no_room(message: str, param: object = None) -> bool:
    """Whether a request is refused because prompt and longest answer together are too long."""
    told = _ECHO.split(message, maxsplit=1)[0]
    is_size = refused_option(message, param) == "max_tokens" and bool(_SIZE.search(told))
    return is_size or bool(_CONTEXT.search(told))
