"""Where text goes to a terminal, it goes without what would steer it.

Names in files, texts of models and words of servers are untrusted: an escape sequence among them
would clear the screen, retitle the window or hide a line. Tables, bars and notes are printed
through this, plain lines and JSON through `cli.common`, and nothing by any other way.
"""

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from hyperfitting.untrusted import printable


class Terminal(Console):
    """rich's console, whose own control codes are the only ones that are written."""

    def __init__(self, file: IO[str] | None = None) -> None:
        super().__init__(file=file, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The pieces of what is printed, without control characters in their text."""
        for piece in super().render(renderable, options):
            if piece.control:
                yield piece
            else:
                yield Segment(printable(piece.text), piece.style)
