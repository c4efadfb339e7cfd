"""What must not be stored or shown of how a judge is reached: its key, also in a path. Pure."""

import re
from urllib.parse import urlsplit

# What servers that need no key are given in its place: no secrets, and words of a judge's.
PLACEHOLDERS = {
    "none",
    "null",
    "empty",
    "dummy",
    "ollama",
    "no-key",
    "no_key",
    "not-needed",
    "token",
}
SHORTEST_KEY = 4  # characters: a shorter one cannot be told from words and numbers
LONG_ENOUGH = 8  # characters from which a key is removed also inside a word
LONGEST_WORD = 20  # characters of a part of a path that is taken for a word
HIDDEN = "[key]"


def is_secret(key: str | None) -> bool:
    """Whether a key is one; a placeholder is none."""
    return bool(key) and str(key).lower() not in PLACEHOLDERS


def in_path(url: str) -> list[str]:
    """The parts of a URL's path that may be keys: long, or with digits in them."""
    parts = urlsplit(url).path.split("/")
    return [
        part
        for part in parts
        if len(part) > LONGEST_WORD or (len(part) >= LONG_ENOUGH and any(map(str.isdigit, part)))
    ]


def without_path(url: str) -> str:
    """Scheme, host and port of a URL: its path may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Secrets:
    """Removes keys from texts."""

    def __init__(self, key: str | None, url: str) -> None:
        secrets = [*([str(key)] if is_secret(key) else []), *in_path(url)]
        # The longest first: one may be a part of another.
        patterns = map(_pattern, sorted(set(secrets), key=len, reverse=True))
        self._found = re.compile("|".join(patterns)) if secrets else None

    def hide(self, text: str) -> str:
        """`text` without any of them."""
        return self._found.sub(HIDDEN, text) if self._found else text


def _pattern(secret: str) -> str:
    """A short key is one only where it stands alone: elsewhere it is a piece of a word."""
    plain = re.escape(secret)
    return plain if len(secret) >= LONG_ENOUGH else rf"(?<!\w){plain}(?!\w)"
