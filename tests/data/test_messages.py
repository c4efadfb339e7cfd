"""Chat rows as people store them: as text, padded, in parts; and what is refused by name."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from hyperfitting.config import DataConfig
from hyperfitting.data.sources import read_documents, read_hub_dataset
from hyperfitting.errors import InputError
from tests.data.templates import talk

PLAIN = [list(talk(f"question {n}", f"answer {n}")) for n in range(3)]
CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"q": "x"}}}


def read(path, **settings):
    return read_documents(DataConfig(source=str(path), **settings))


def conversations(documents):
    return [list(document.messages) for document in documents]


def as_csv(path, values, column="messages"):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", column])
        writer.writerows(enumerate(values))
    return path


def as_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_messages_that_are_stored_as_text_are_messages(tmp_path, write):
    values = [write(messages) for messages in PLAIN]
    pa.parquet.write_table(pa.table({"messages": values}), tmp_path / "a.parquet")
    paths = [
        as_csv(tmp_path / "a.csv", values),
        as_jsonl(tmp_path / "a.jsonl", [{"messages": value} for value in values]),
        tmp_path / "a.parquet",
    ]
    assert all(conversations(read(path)) == PLAIN for path in paths)


def test_a_chosen_column_of_conversations_as_text(tmp_path):
    path = as_csv(tmp_path / "a.csv", [json.dumps(m) for m in PLAIN], "chat")
    assert conversations(read(path, text_field="chat")) == PLAIN
    texts = as_jsonl(tmp_path / "t.jsonl", [{"text": json.dumps(PLAIN[0])}])
    assert read(texts)[0].messages is None, "a column called text holds text"


def test_a_messages_column_of_plain_text_is_asked_about(tmp_path):
    path = as_csv(tmp_path / "a.csv", ["hello there"])
    with pytest.raises(InputError, match=r"no JSON list of messages[^$]*--text-field messages"):
        read(path)
    assert read(path, text_field="messages")[0].text == "hello there"


def padded():
    """Three conversations, one with a call: a columnar file gives every message its keys."""
    one = [PLAIN[0][0], {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    other = {"type": "function", "function": {"name": "g", "arguments": {"n": 1}}}
    two = [PLAIN[1][0], {"role": "assistant", "content": None, "tool_calls": [other]}]
    return [one, two, PLAIN[2]]


def test_nulls_that_pad_a_columnar_file_are_no_keys(tmp_path):
    expected = [[{k: v for k, v in m.items() if v is not None} for m in c] for c in padded()]
    rows = [{"messages": messages} for messages in padded()]
    folder = tmp_path / "hub"
    folder.mkdir()
    for path in (tmp_path / "a.parquet", folder / "train.parquet"):
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    assert conversations(read(tmp_path / "a.parquet")) == expected
    hub = read_hub_dataset(str(folder), DataConfig(source="hub"))
    assert conversations(hub) == expected


def test_null_and_empty_calls_are_no_keys_in_json_either(tmp_path):
    message = {"role": "assistant", "content": "a", "tool_calls": None, "name": None}
    empty = {"role": "assistant", "content": "a", "tool_calls": []}
    path = as_jsonl(tmp_path / "a.jsonl", [{"messages": [message]}, {"messages": [empty]}])
    assert conversations(read(path)) == [[{"role": "assistant", "content": "a"}]] * 2


def test_calls_may_be_text_too(tmp_path):
    message = {"role": "assistant", "content": None, "tool_calls": json.dumps([CALL])}
    path = as_jsonl(tmp_path / "a.jsonl", [{"messages": [message]}])
    assert conversations(read(path)) == [[{"role": "assistant", "tool_calls": [CALL]}]]


def test_functions_come_with_the_conversation(tmp_path):
    given = ([CALL], json.dumps([CALL]), None)
    rows = [{"messages": m, "tools": tools} for m, tools in zip(PLAIN, given, strict=True)]
    found = [d.tools for d in read(as_jsonl(tmp_path / "a.jsonl", rows))]
    assert found == [(CALL,), (CALL,), None]
    bad = as_jsonl(tmp_path / "b.jsonl", [{"messages": PLAIN[0], "tools": "hammer"}])
    with pytest.raises(InputError, match="column 'tools' is no list of functions"):
        read(bad)


TEXT = {"type": "text", "text": "x"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([TEXT, {"type": "image_url", "image_url": "u"}], "'image_url'"),
        ([{"type": "audio", "audio": "a"}], "'audio'"),
        ([{"type": "text"}], "'text'"),
        ([7], "'int'"),
        ({"text": "x"}, "holds dict as its content"),
        (3, "holds int as its content"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path, content, named):
    rows = [{"messages": [PLAIN[0][0], {"role": "assistant", "content": content}]}]
    with pytest.raises(InputError, match=rf"row 1: column 'messages', message 2 .*{named}"):
        read(as_jsonl(tmp_path / "a.jsonl", rows))


def test_text_parts_are_read(tmp_path):
    rows = [{"messages": [{"role": "user", "content": [TEXT, "y"]}, PLAIN[0][1]]}]
    [document] = read(as_jsonl(tmp_path / "a.jsonl", rows))
    assert document.messages[0]["content"] == [TEXT, "y"]


def test_other_names_of_role_and_content_get_a_hint(tmp_path):
    rows = [{"conversations": [{"from": "human", "value": "x"}]}]
    with pytest.raises(InputError, match="rename `from` to `role`"):
        read(as_jsonl(tmp_path / "a.jsonl", rows), text_field="conversations")
