"""Tables to Markdown, CSV and LaTeX. The first row is the header."""

import csv
import io
import re
from collections.abc import Sequence

_TAG = re.compile(r"<(?=[A-Za-z/!?])")  # not of `< .001`
# A number as our tables print it, alone or with its interval, n and a note in plain words. A
# formula begins as a number may, and what makes it one - another sign, a call with quotes, `|`,
# `!` - is no part of these.
_NUMBER = re.compile(
    r"[+-][\d,]*\.?\d+(?:e[+-]?\d+)?"
    r"(?: \[[+-]?[\d.,e+-]+, [+-]?[\d.,e+-]+\])?(?: \(n=\d+\))?(?: [\w ,.:;%]*)?"
)


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table; no cell holds markup, a link or an image."""
    flat = [[_in_markdown(text) for text in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in flat]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def _in_markdown(text: str) -> str:
    line = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return _TAG.sub("&lt;", line).replace("](", "]\\(").replace("][", "]\\[")


def to_csv(rows: Sequence[Sequence[str]]) -> str:
    """Comma-separated values; a spreadsheet takes no cell for a formula."""
    buffer = io.StringIO()
    plain = ([_in_csv(text) for text in row] for row in rows)
    csv.writer(buffer, lineterminator="\n").writerows(plain)
    return buffer.getvalue()


def _in_csv(text: str) -> str:
    """A text that a spreadsheet would run, behind an apostrophe; numbers as they are."""
    text = text.replace("\r", " ")  # which would end a line
    # Spaces in front do not keep every spreadsheet from it.
    is_formula = text.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\n"))
    return f"'{text}" if is_formula and not _NUMBER.fullmatch(text) else text


LATEX_SPECIAL = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"<": "$<$", ">": "$>$", "–": "--", "±": "$\\pm$", "\\": "\\textbackslash{}",
       "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
)  # fmt: skip


def to_latex(rows: Sequence[Sequence[str]]) -> str:
    """A tabular in booktabs style."""
    lines = [" & ".join(text.translate(LATEX_SPECIAL) for text in row) + r" \\" for row in rows]
    body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
    return f"\\begin{{tabular}}{{{'l' * len(rows[0])}}}\n{body}\n\\end{{tabular}}\n"


FORMATS = {"md": to_markdown, "csv": to_csv, "tex": to_latex}
