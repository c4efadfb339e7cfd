"""Tables to Markdown, CSV and LaTeX. The first row is the header."""

import csv
import io
from collections.abc import Sequence


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table."""
    flat = [[" ".join(text.split()).replace("|", "\\|") for text in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in flat]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def to_csv(rows: Sequence[Sequence[str]]) -> str:
    """Comma-separated values."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


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
