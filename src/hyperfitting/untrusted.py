"""Text of models, judges and other people's files, made safe to print."""

import unicodedata


def printable(text: str) -> str:
    """`text` without control characters other than newline and tab (it is untrusted)."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf"))
