"""`hyperfit compare`: two models, or a run and its original, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hyperfitting.cli.common import (
    AsJson,
    ConfigFile,
    Device,
    TrustRemoteCode,
    layers,
    one_message,
    print_json,
    settings_among,
    write_line,
)
from hyperfitting.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from hyperfitting.generate.side_by_side import Compared, Continuation
    from hyperfitting.terminal import Terminal

LEGEND = "rank in the other model: 1 plain, 2-10 yellow, above 10 magenta; underlined: a loop"
OF_RANK = ((1, ""), (10, "yellow"))  # up to which rank a colour goes
BEYOND, LOOP = "bold magenta", "underline dim"


def compare(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL|KEY=VALUE", help="Two models, or a run alone."),
    ],
    prompt: Annotated[
        list[str] | None, typer.Option(help="A text to continue; may be repeated.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="File with one prompt a line.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a line of JSON for each prompt.", show_default=False)
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Factor of what was trained.", show_default=False)
    ] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let two models go on with the same prompts, side by side, as they write.

    Tokens are coloured by their rank in the other model, loops are underlined. A run alone is
    compared with the model it was trained from.

    Example: hyperfit compare my-run --prompt "The old bridge"

    Two models: hyperfit compare model-a model-b --prompts prompts.txt --out texts.jsonl
    """
    with one_message():
        from hyperfitting import verbs
        from hyperfitting.config.compare import CompareConfig
        from hyperfitting.config.layers import build
        from hyperfitting.generate.prompts import read_prompts
        from hyperfitting.progress import ConsoleProgress, in_number
        from hyperfitting.storage import write_jsonl
        from hyperfitting.terminal import Terminal

        overrides = settings_among(models)
        named = [each for each in models if each not in overrides]
        if len(named) > 2:
            raise InputError(f"{len(named)} models are given", needed="two, or a run alone")
        flags = {
            "a": ("A", named[0] if named else None),
            "b": ("B", named[1] if len(named) > 1 else None),
            "strength": ("--strength", strength),
            "device": ("--device", device),
            "trust_remote_code": ("--trust-remote-code", trust_remote_code),
        }
        settings = build(CompareConfig, layers(config, flags, overrides)).config
        given = read_prompts(prompt, prompts)
        console = Terminal()
        is_quiet = as_json or out is not None
        watch = _Live(console) if console.is_terminal and not is_quiet else None
        if out is not None:
            _require_new(out)
        try:
            found = verbs.compare(given, settings, ConsoleProgress(), watch)
        finally:
            if watch is not None:
                watch.end()
        if out is not None:
            write_jsonl(out, found)
            if not as_json:
                write_line(f"{out}  {in_number(len(found), 'prompt')}")
        if as_json:
            print_json({"texts": found})
        elif out is None and watch is None:
            for each in found:
                console.print(_coloured(each))


def _require_new(out: Path) -> None:
    """Refuse a file that is there, the prompts too; and a folder that cannot be written to.

    Raises:
        InputError: it is.
    """
    from hyperfitting.writable import require_writable

    if out.exists() or out.is_symlink():
        raise InputError(
            f"--out {out} is there already",
            needed="the name of a new file",
            hint="choose another, or remove that one first",
        )
    require_writable(out.absolute().parent)


class _Live:
    """Shows texts as they are written, a prompt after the other."""

    def __init__(self, console: "Terminal") -> None:
        from rich.live import Live

        self.console, self.kind = console, Live
        self.live: Live | None = None

    def begins(self, prompt: str, models: tuple[str, str]) -> None:
        """A new table."""
        self.prompt, self.models, self.texts = prompt, models, ["", ""]
        self.end()
        self.live = self.kind(console=self.console, refresh_per_second=8)
        self.live.start()

    def writes(self, side: int, text: str) -> None:
        """Another token of one side."""
        self.texts[side] = text
        assert self.live is not None
        self.live.update(_table(self.prompt, self.models, self.texts))

    def has(self, found: "Compared") -> None:
        """The table with its colours stays."""
        assert self.live is not None
        self.live.update(_coloured(found))
        self.end()

    def end(self) -> None:
        """Give the terminal back as it was, however it ended."""
        if self.live is not None:
            self.live.stop()
            self.live = None


def _coloured(found: "Compared") -> "Table":
    """Both continuations with the colours of their ranks."""
    sides = (found["a"], found["b"])
    names = [side["model"] for side in sides]
    table = _table(found["prompt"], names, [_text(side) for side in sides])
    table.show_footer = True
    for column, side in zip(table.columns, sides, strict=True):
        column.footer = _in_numbers(side)
    table.caption = LEGEND
    return table


def _in_numbers(side: "Continuation") -> str:
    """One line of how long, how varied, and whether it loops."""
    from hyperfitting.progress import in_number

    count = len(side["pieces"])
    if side["ttr"] is None:
        return "no tokens"
    start = side["loop_start"]
    end = f"loops from token {start + 1}" if start is not None else "no loop"
    return f"{in_number(count, 'token')}, TTR {side['ttr']:.2f}, {end}"


def _text(side: "Continuation") -> Any:
    from rich.text import Text

    text = Text()
    start = side["loop_start"]
    for place, piece in enumerate(side["pieces"]):
        rank = piece["rank"]
        style = "" if rank is None else next((c for top, c in OF_RANK if rank <= top), BEYOND)
        if start is not None and place >= start:
            style = f"{style} {LOOP}".strip()
        text.append(piece["text"], style=style)
    return text


def _table(prompt: str, names: Sequence[str], texts: list[Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(prompt, style="italic"), title_justify="left", expand=True)
    short = [Path(name).name for name in names]
    titles = short if all(short) and short[0] != short[1] else names
    for title in titles:
        table.add_column(Text(title), ratio=1)
    table.add_row(*(text if isinstance(text, Text) else Text(text) for text in texts))
    return table
