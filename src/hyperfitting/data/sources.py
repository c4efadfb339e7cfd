"""Read documents from built-in texts, files, folders and hub datasets.

This file does not know tokens: a document leaves it as text or as a list of chat messages.
"""

import csv
import io
import os
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hyperfitting.builtin import CORPORA
from hyperfitting.config import DataConfig
from hyperfitting.data.hub import ask, is_hub_id, near_path, without_asking
from hyperfitting.data.messages import (
    NEEDED,
    check_depth,
    check_messages,
    is_conversation,
    parse_list,
    without_nulls,
)
from hyperfitting.data.template import Message
from hyperfitting.errors import InputError, did_you_mean
from hyperfitting.foreign import led_out
from hyperfitting.progress import in_number
from hyperfitting.strict_json import parse_json

MOST_ENTRIES = 100_000  # of a folder with texts
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # of a file called .csv
# Columns of question and answer, as other programs name them.
PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("instruction", "output"),
    ("instruction", "response"), ("question", "answer"),
)  # fmt: skip
END_OF_TEXT = "<|endoftext|>"  # separates the documents of a .txt file where it occurs


@dataclass(frozen=True)
class NamedDataset:
    """A public dataset by a short name, on the hub and as a local file in its usual format."""

    hub_id: str
    hub_field: str
    file_field: str
    csv_header: bool = True


# The paper's other domains (section 6). `ag_news` is the hub dataset, `ag_news:FILE` the csv file
# with class, title and description and no header row.
DATASETS: Mapping[str, NamedDataset] = {
    "ag_news": NamedDataset("fancyzhx/ag_news", "text", "column_3", csv_header=False),
    "writing_prompts": NamedDataset("euclaise/writingprompts", "story", "story"),
    # Forsythe 2024, by its author's dataset of fiction; that id was not verified on the hub.
    "fiction_stories": NamedDataset(
        "alasdairforsythe/text-english-code-fiction-nonfiction", "text", "text"
    ),
}


@dataclass(frozen=True)
class Document:
    """One text, or one conversation, and where it came from."""

    origin: str  # file name and row: names the document in reports and messages
    text: str = ""
    messages: tuple[Message, ...] | None = None
    tools: tuple[Message, ...] | None = None  # functions that the conversation may call

    def texts(self, without: Collection[str] = ()) -> list[str]:
        """What was written in it: the text, or the contents of messages `without` these roles."""
        if self.messages is None:
            return [self.text]
        said = [message for message in self.messages if message.get("role") not in without]
        contents = [message.get("content") for message in said]
        return [content for content in contents if isinstance(content, str)]


def _decode(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: byte {error.start} cannot be decoded",
            needed="text in UTF-8",
            hint=f"convert it, for example: iconv -f latin1 -t utf-8 {path.name}",
        ) from error
    if not text.strip():
        raise InputError(f"{path} is empty", needed="a file with text")
    return text


# Columns beside a conversation that other tools render with it, and what to do with them here.
_RENDERED_ELSEWHERE = {
    "functions": "name the column `tools`, with each function as {'type': 'function', "
    "'function': {...}}",
    "chat_template_kwargs": "take the column out: the chat template is rendered with its defaults",
    "system": "put it into the messages, as the first one, of the role system",
}


def _conversation(value: Any, row: Mapping[str, Any], where: str, name: str) -> Document:
    """The conversation of one row, with the functions of its column `tools`."""
    check_depth(value, f"{where}: column {name!r}")
    messages = check_messages(value, f"{where}: column {name!r}")
    roles = {message["role"] for message in messages}
    for column, cure in _RENDERED_ELSEWHERE.items():
        if row.get(column) and column != name and column not in roles:
            raise InputError(
                f"{where}: column {column!r} stands beside the conversation and is not read",
                needed=cure,
                hint="rename the column if it is about something else",
            )
    tools = row.get("tools") or None
    if isinstance(tools, str):
        tools = parse_list(tools)
    check_depth(tools, f"{where}: column 'tools'")
    given = isinstance(tools, (list, tuple)) and all(isinstance(tool, Mapping) for tool in tools)
    if row.get("tools") and not given:
        raise InputError(
            f"{where}: column 'tools' is no list of functions",
            needed="functions as JSON schemas, which the chat template writes",
            hint="rename the column if it is about something else",
        )
    return Document(where, messages=messages, tools=tuple(tools) if tools else None)


def column_of(names: Sequence[str], field: str | None) -> str:
    """The column with the text or the conversation, which may not be there."""
    return field or ("messages" if "messages" in names and "text" not in names else "text")


def _hint_on(row: Mapping[str, Any], where: str) -> str:
    """What to do where the column with the text is not there."""
    for name, value in row.items():
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            keys = "" if is_conversation(value) else ", each with the keys role and content"
            return f"column {name!r} holds messages: --text-field {shlex.quote(str(name))}{keys}"
    asked = next((pair for pair in PAIRS if {*pair} <= {*row}), None)
    if asked:
        return (
            f"write each pair of {asked[0]} and {asked[1]} as a conversation in a column `messages`"
        )
    if ".csv row " in where.lower():
        return (
            "choose it with --text-field; a csv file without a header row needs "
            "data.csv_header=false, its columns are then column_1, column_2, ..."
        )
    return "choose it with --text-field"


def _pick(row: Mapping[str, Any], field: str | None, where: str) -> Document:
    """The text or the conversation of one row."""
    columns = [str(name) for name in row]
    name = column_of(columns, field)
    if name not in row:
        raise InputError(
            f"{where} has no column {name!r}; its columns are: {', '.join(map(repr, columns))}",
            needed="the name of the column with the text",
            hint=did_you_mean(name, columns) or _hint_on(row, where),
        )
    value = row[name]
    if isinstance(value, str) and name != "text":
        parsed = parse_list(value)
        if parsed is not None and is_conversation(parsed):
            value = parsed
        elif name == "messages" and field is None and value.strip():
            raise InputError(
                f"{where}: column 'messages' holds text that is no JSON list of messages",
                needed=NEEDED,
                hint="--text-field messages trains on it as plain text",
            )
    if isinstance(value, (list, tuple)):
        return _conversation(value, row, where, name)
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise InputError(
            f"{where}: column {name!r} holds half a character (a lone surrogate escape)",
            needed="text in UTF-8",
        )
    if value is not None and not isinstance(value, str):
        raise InputError(
            f"{where}: column {name!r} holds {type(value).__name__}, not text",
            needed="a column with text",
            hint=f"the columns are: {', '.join(map(repr, columns))}",
        )
    return Document(where, text=value or "")


def without_nulls_inside(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a columnar source: every column stays, what pads lists and mappings goes."""
    return {name: without_nulls(value) for name, value in row.items()}


def _rows(rows: Iterable[Mapping[str, Any]], config: DataConfig, name: str) -> list[Document]:
    return [
        _pick(row, config.text_field, f"{name} row {number}")
        for number, row in enumerate(rows, start=1)
    ]


def _read_jsonl(path: Path, config: DataConfig) -> list[Document]:
    rows = []
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, is_ours=False)
        except ValueError as error:
            raise InputError(
                f"{path} line {number} is not JSON: {error}",
                needed="one JSON object per line, with each key once",
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"{path} line {number} holds {type(row).__name__}",
                needed="one JSON object per line",
            )
        rows.append(row)
    return _rows(rows, config, path.name)


def _csv_rows(path: Path, text: str) -> list[list[str]]:
    """The rows of the file; a quote that is opened and not closed would swallow those after it."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    while True:
        first = reader.line_num + 1
        try:
            rows.append(next(reader))
        except StopIteration:
            return rows
        except csv.Error as error:
            raise InputError(
                f"{path}: the row that begins in line {first} cannot be read, up to line "
                f"{reader.line_num}: {error}",
                needed='fields with a quote in them in quotes, the quote doubled: "a ""b"" c"',
                hint="a quote that is opened and never closed swallows the rows after it; let "
                "the program that wrote the file quote its fields, or write .jsonl",
            ) from error


def _require_commas(path: Path, text: str, config: DataConfig) -> None:
    """Refuse a file whose header has the column that is asked for, between other marks.

    Raises:
        InputError: it is.
    """
    header = text.partition("\n")[0].strip() if config.csv_header else ""
    for mark, name in OTHER_SEPARATORS.items():
        names = [each.strip('"') for each in header.split(mark)]
        if len(names) > 1 and column_of(names, config.text_field) in names:
            raise InputError(
                f"{path} divides its fields by {name}",
                needed="a comma-separated file",
                hint="write it with commas, or as .jsonl",
            )


def _read_csv(path: Path, config: DataConfig) -> list[Document]:
    # A field may be a whole novel: the csv module's default limit is 128 KiB.
    csv.field_size_limit(2**31 - 1)
    text = _decode(path)
    _require_commas(path, text, config)
    rows = _csv_rows(path, text)
    header = rows.pop(0) if config.csv_header else [f"column_{i + 1}" for i in range(len(rows[0]))]
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise InputError(
            f"{path} has several columns named {repeated.pop()!r}",
            needed="a name for each column, or data.csv_header=false",
        )
    for number, row in enumerate(rows, start=1):
        if row and len(row) != len(header):
            raise InputError(
                f"{path} row {number} has {len(row)} fields, the first row has {len(header)}",
                needed="a comma-separated file with equal rows",
            )
    return _rows((dict(zip(header, row, strict=True)) for row in rows if row), config, path.name)


def _read_parquet(path: Path, config: DataConfig) -> list[Document]:
    from hyperfitting.data.columnar import column_names, read_parquet

    name = column_of(column_names(path), config.text_field)
    rows = read_parquet(path, name, ("tools", *_RENDERED_ELSEWHERE))
    return _rows(map(without_nulls_inside, rows), config, path.name)


def _read_txt(path: Path, config: DataConfig) -> list[Document]:
    parts = _decode(path).split(END_OF_TEXT)
    if len(parts) == 1:
        return [Document(path.name, text=parts[0])]
    return [Document(f"{path.name} part {i}", text=part) for i, part in enumerate(parts, start=1)]


READERS: Mapping[str, Callable[[Path, DataConfig], list[Document]]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".txt": _read_txt,
}


def _read_file(path: Path, config: DataConfig) -> list[Document]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} has the ending {path.suffix!r}", needed=f"one of {', '.join(READERS)}"
        )
    return reader(path, config)


def _files_in(path: Path) -> list[Path]:
    """The files of a folder that can be read, in order; hidden files and folders are left out.

    Raises:
        InputError: it holds more than anybody means to give, as `/` does, or a link out of it.
    """
    found: list[Path] = []
    seen = 0
    for folder, folders, names in os.walk(path):  # passes over what may not be listed
        folders[:] = [name for name in folders if not name.startswith(".")]
        seen += len(folders) + len(names)
        if seen > MOST_ENTRIES:
            raise InputError(
                f"the folder {path} holds more than {MOST_ENTRIES:,} files and folders",
                needed=f"a folder of texts with at most {MOST_ENTRIES:,}",
            )
        texts = [
            Path(folder) / name
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in READERS
        ]
        for each in (*texts, *(Path(folder) / name for name in folders)):
            _require_inside(each, path)
        found += texts
    return sorted(file for file in found if file.is_file())


def passed_over(source: str) -> str | None:
    """A line on the files of a folder that are not read for how they end; None where all are."""
    if not Path(source).is_dir():
        return None
    endings: Counter[str] = Counter()
    for _, folders, names in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = (Path(name) for name in names if not name.startswith("."))
        endings.update(path.suffix.lower() or "no ending" for path in shown)
    others = {e: n for e, n in endings.most_common() if e not in READERS}
    if not others:
        return None
    named = ", ".join(f"{n:,} {e}" for e, n in list(others.items())[:3])
    return (
        f"{in_number(sum(others.values()), 'file')} of the folder not read ({named}): "
        f"texts end in {', '.join(READERS)}"
    )


def _require_inside(path: Path, root: Path) -> None:
    """Refuse a link out of a folder of texts: whoever made it chose what is trained on.

    Raises:
        InputError: it is one.
    """
    if path.is_symlink() and (end := led_out(path, root)) is not None:
        raise InputError(
            f"{path} is a link that leads out of {root}, to {end}",
            needed="a folder whose texts lie in it",
            hint="give what it leads to itself, or put a copy of it in the link's place",
        )


def _read_folder(path: Path, config: DataConfig) -> list[Document]:
    files = _files_in(path)
    if not files:
        raise InputError(
            f"the folder {path} holds no text files", needed=f"files ending in {', '.join(READERS)}"
        )
    return [
        replace(document, origin=f"{file.relative_to(path).parent / document.origin}")
        for file in files
        for document in _read_file(file, config)
    ]


def read_hub_dataset(name: str, config: DataConfig) -> list[Document]:
    """Documents of a hub dataset (`datasets` also takes a folder laid out like one).

    Raises:
        InputError: the `datasets` extra is missing, or the dataset cannot be loaded.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name!r} is no local file or folder, and reading hub datasets needs `datasets`",
            needed="pip install 'hyperfitting[hub]'",
            hint=_near(name),
        ) from error
    reason = "" if Path(name).is_dir() else ask(name, "dataset").reason
    try:
        with without_asking() if reason else nullcontext():
            dataset = datasets.load_dataset(name, split=config.hub_split)
            rows = _rows_of_dataset(dataset, config)
    except Exception as error:
        # The loader raises anything from ConnectionError to its own kinds: all are about `name`.
        raise InputError(
            f"{name!r} is no local file or folder, and the hub did not deliver it: "
            f"{reason or error}",
            needed=f"an existing path, {', '.join([*CORPORA, *DATASETS])}, or a reachable dataset "
            "id",
            hint=_near(name),
        ) from error
    return _rows(map(without_nulls_inside, rows), config, name)


def _rows_of_dataset(dataset: Any, config: DataConfig) -> Iterable[dict[str, Any]]:
    """The rows with what is read of them; of other columns the name alone, with None.

    Only that is decoded: sound and images need packages of their own. Where the column is not
    there, the first row as it is stored, for the message that says so.
    """
    names = list(dataset.column_names)
    column = column_of(names, config.text_field)
    if column not in names:
        first: list[dict[str, Any]] = dataset.with_format("arrow")[:1].to_pylist()
        return first
    wanted = [name for name in names if name in (column, "tools", *_RENDERED_ELSEWHERE)]
    unread = dict.fromkeys(names)
    return (unread | row for row in dataset.select_columns(wanted))


def _near(source: str) -> str | None:
    return near_path(source, [*CORPORA, *DATASETS])


def file_of(source: str) -> str:
    """The file of a named dataset (`ag_news:FILE`); any other source as it is."""
    name, colon, file = source.partition(":")
    return file if colon and name in DATASETS else source


def of_named_dataset(config: DataConfig) -> DataConfig:
    """The config of a dataset that is given by its short name; any other as it is."""
    name, colon, file = config.source.partition(":")
    if name not in DATASETS or (not colon and Path(name).exists()):
        return config
    known = DATASETS[name]
    if not colon:
        own = {"source": known.hub_id, "text_field": config.text_field or known.hub_field}
        return config.model_copy(update=own)
    if not file:
        raise InputError(f"{config.source!r} names no file", needed=f"{name}, or {name}:FILE")
    own = {"source": file, "text_field": config.text_field or known.file_field}
    header = {"csv_header": known.csv_header} if Path(file).suffix.lower() == ".csv" else {}
    return config.model_copy(update=own | header)


def read_documents(config: DataConfig) -> list[Document]:
    """All documents of `config.source`, in the source's order.

    Raises:
        InputError: the source does not exist, is empty, not UTF-8, or lacks the column.
    """
    config = of_named_dataset(config)
    source = config.source
    if source in CORPORA:
        return _read_file(CORPORA[source], config)
    if source.startswith("builtin"):
        raise InputError(
            f"there is no built-in text {source!r}",
            needed=f"one of {', '.join(CORPORA)}",
            hint=did_you_mean(source, CORPORA),
        )
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, config)
    if path.is_file():
        return _read_file(path, config)
    if path.suffix.lower() in READERS or not is_hub_id(source):
        raise InputError(
            f"{source} does not exist",
            needed="a file, a folder or a hub dataset id",
            hint=_near(source),
        )
    return read_hub_dataset(source, config)
