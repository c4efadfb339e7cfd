"""Text of models, judges and other people's files, made safe to print."""

import json
import unicodedata

_LINES = {ord("\n"): None, ord("\t"): None}
# Control, invisible (bidirectional marks among them), half a character, ends of lines.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """`text` without control characters other than newline and tab (it is untrusted)."""
    if text.translate(_LINES).isprintable():  # what is, is in no category below
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _UNSEEN)


def escaped(text: str) -> str:
    r"""JSON whose strings hold every such character as its escape, such as \u001b."""
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in _UNSEEN else json.dumps(c)[1:-1]
        for c in text
    )
