"""A parquet file is read by the column: what nobody asked for may be anything."""

import datetime

import pyarrow
import pyarrow.parquet
import pytest

from hyperfitting.config import DataConfig
from hyperfitting.data.sources import read_documents
from hyperfitting.errors import InputError

NOT_UTF8 = pyarrow.Array.from_buffers(
    pyarrow.string(), 2,
    [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pyarrow.py_buffer(b"ab\xff\xfe")],
)  # fmt: skip
ODD = {
    "a day in the year 3,000,000": pyarrow.array([10**9, 1], pyarrow.int32()).cast("date32"),
    "a duration": pyarrow.array([2**62, 1], pyarrow.duration("s")),
    "an unknown time zone": pyarrow.array([1, 2], pyarrow.timestamp("s", "No/Where")),
    "no UTF-8": NOT_UTF8,
}
MESSAGES = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]] * 2


def read(tmp_path, table, **settings):
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    return read_documents(DataConfig(source=str(tmp_path / "a.parquet"), **settings))


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_column_that_is_not_read_does_no_harm(odd, tmp_path):
    found = read(tmp_path, {"text": ["one", "two"], "odd": odd, "system": odd})
    assert [each.text for each in found] == ["one", "two"]
    found = read(tmp_path, {"messages": MESSAGES, "odd": odd})
    assert [len(each.messages) for each in found] == [2, 2]


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_column_that_is_read_is_refused_by_its_name(odd, tmp_path):
    with pytest.raises(InputError, match="column 'odd'"):
        read(tmp_path, {"text": ["one", "two"], "odd": odd}, text_field="odd")


def test_the_row_that_is_no_utf8_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a.parquet row 2: column 'text' is not UTF-8: byte 0"):
        read(tmp_path, {"text": NOT_UTF8})


def test_the_columns_beside_a_conversation_are_read(tmp_path):
    with pytest.raises(InputError, match="column 'system' stands beside the conversation"):
        read(tmp_path, {"messages": MESSAGES, "system": ["be kind", "be kind"]})


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path):
    with pytest.raises(InputError, match="no column 'text'; its columns are: 'story', 'n'"):
        read(tmp_path, {"story": ["a"], "n": [1]})
    with pytest.raises(InputError, match="holds date, not text"):
        read(tmp_path, {"text": [datetime.date(2020, 1, 1)]})
    with pytest.raises(InputError, match="is empty"):
        read(tmp_path, {"text": pyarrow.array([], pyarrow.string())})
