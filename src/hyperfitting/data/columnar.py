"""Rows of columnar files: only the columns that are needed, value by value.

A column that nobody asked for may be of any type, also of one that Python has no value for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from hyperfitting.errors import InputError


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is not a parquet file: {error}") from error


def column_names(path: Path) -> list[str]:
    """The names of a file's columns.

    Raises:
        InputError: it is no parquet file.
    """
    with _opened(path) as file:
        return list(dict.fromkeys(file.schema_arrow.names))


def read_parquet(path: Path, column: str, beside: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file: the column, and where it may hold conversations those `beside` it.

    Of every other column only the name is given, with None: for the message that lists them.

    Raises:
        InputError: it is no parquet file, holds no rows, or a value that is none.
    """
    names = column_names(path)
    wanted = [name for name in [column] if name in names]
    with _opened(path) as file:
        if wanted and (column != "text" or not _is_text(file.schema_arrow.field(column).type)):
            wanted += [name for name in beside if name in names and name != column]
        table, num_rows = file.read(columns=wanted), file.metadata.num_rows
    if num_rows == 0:
        raise InputError(f"{path} is empty", needed="a file with rows")
    empty = dict.fromkeys(names)
    for row in range(num_rows):
        yield empty | {name: _value(table, name, row, path) for name in wanted}


def _is_text(kind: Any) -> bool:
    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def _value(table: Any, name: str, row: int, path: Path) -> Any:
    try:
        return table.column(name)[row].as_py()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} row {row + 1}: column {name!r} is not UTF-8: byte {error.start} cannot be "
            "decoded",
            needed="text in UTF-8",
        ) from error
    except (pyarrow.ArrowException, ValueError, OverflowError, LookupError, TypeError) as error:
        raise InputError(
            f"{path} row {row + 1}: column {name!r} holds a value of the type "
            f"{table.schema.field(name).type} that cannot be read: {error}",
            needed="a column with text",
        ) from error
