import json

import pyarrow
import pyarrow.parquet
import pytest

from hyperfitting.config import DataConfig
from hyperfitting.data import sources
from hyperfitting.data.sources import passed_over, read_documents, read_hub_dataset
from hyperfitting.errors import InputError


def read(source, **settings):
    return read_documents(DataConfig(source=str(source), **settings))


def texts(documents):
    return [document.text for document in documents]


@pytest.mark.parametrize(("name", "count"), [("fiction", 240), ("news", 160)])
def test_built_in_texts(name, count):
    documents = read(f"builtin:{name}")
    assert len(documents) == count
    assert all(document.text for document in documents)


def test_the_same_rows_from_every_format(tmp_path):
    rows = [{"text": 'one, "two"\nthree', "n": "1"}, {"text": "vier fünf", "n": "2"}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(r) for r in rows) + "\n\n")
    (tmp_path / "a.csv").write_text('text,n\n"one, ""two""\nthree",1\nvier fünf,2\n')
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    expected = [row["text"] for row in rows]
    for ending in ("jsonl", "csv", "parquet"):
        assert texts(read(tmp_path / f"a.{ending}")) == expected
        assert texts(read(tmp_path / f"a.{ending}", text_field="n")) == ["1", "2"]
    assert len(read(tmp_path)) == 6


def test_a_txt_file_is_one_document_or_several_with_separators(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    (tmp_path / "b.txt").write_text("one<|endoftext|>two")
    assert texts(read(tmp_path)) == ["one\n\ntwo", "one", "two"]


def test_a_csv_field_may_hold_any_line_separator(tmp_path):
    fields = ["one\u2028two", "three\x85four", "five\x0bsix"]
    (tmp_path / "a.csv").write_text("text\n" + "\n".join(fields) + "\n")
    assert texts(read(tmp_path / "a.csv")) == fields


def test_hidden_files_are_left_out_and_origins_name_the_subfolder(tmp_path):
    for name in ("a/x.txt", "b/x.txt", ".git/x.txt", "a/.x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [d.origin for d in read(tmp_path)] == ["a/x.txt", "b/x.txt"]


def test_csv_without_header(tmp_path):
    (tmp_path / "a.csv").write_text("3,Title,Body one\n4,Other,Body two\n")
    documents = read(tmp_path / "a.csv", csv_header=False, text_field="column_3")
    assert texts(documents) == ["Body one", "Body two"]


def test_messages_are_kept_as_a_conversation(tmp_path):
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages}))
    [document] = read(tmp_path / "a.jsonl")
    assert list(document.messages) == messages


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path):
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    assert passed_over(str(folder)) is None
    for name in ("b.md", "sub/c.MD", "LICENSE", ".hidden.md"):
        (folder / name).write_text("two")
    said = passed_over(str(folder))
    assert said.startswith("3 files of the folder not read (2 .md, 1 no ending): texts end in ")
    assert ".jsonl" in said
    assert passed_over(str(folder / "a.txt")) is passed_over("org/dataset") is None


@pytest.mark.parametrize("place", ["b.txt", "sub/b.txt", "more", "c.jsonl"])
def test_a_link_out_of_a_folder_of_texts_is_refused(tmp_path, place):
    outside, folder = tmp_path / "outside", tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (folder / "a.txt").write_text("one")
    ends = {"more": outside, "c.jsonl": tmp_path / "gone"}
    (folder / place).symlink_to(ends.get(place, outside / "secret"))
    with pytest.raises(InputError, match=rf"{place} is a link that leads out of {folder}, to"):
        read(folder)


def test_links_inside_a_folder_of_texts_and_to_it_are_followed(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    (folder / "b.txt").symlink_to("a.txt")
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "notes.md").symlink_to("/etc/hostname")  # is not read
    (tmp_path / "link").symlink_to(folder)
    assert texts(read(tmp_path / "link")) == ["one", "one"]


def test_a_dataset_folder_laid_out_as_on_the_hub(tmp_path):
    folder = tmp_path / "dataset"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    table = pyarrow.Table.from_pylist([{"story": "one"}, {"story": "two"}])
    pyarrow.parquet.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    config = DataConfig(source=str(folder), text_field="story")
    assert texts(read_hub_dataset(str(folder), config)) == ["one", "two"]


def test_of_a_hub_dataset_nothing_is_decoded_that_is_not_read(tmp_path):
    """Sound needs a package that nobody who trains on texts has."""
    import datasets

    sound = [{"bytes": b"no sound", "path": None}] * 2
    stored = datasets.Dataset.from_dict({"text": ["one", "two"], "audio": sound})
    (tmp_path / "set").mkdir()
    stored = stored.cast_column("audio", datasets.Audio())
    stored.to_parquet(tmp_path / "set" / "train.parquet")
    config = DataConfig(source="hub")
    assert texts(read_hub_dataset(str(tmp_path / "set"), config)) == ["one", "two"]
    with pytest.raises(InputError, match="has no column 'story'; its columns are"):
        read_hub_dataset(str(tmp_path / "set"), config.model_copy(update={"text_field": "story"}))


def test_a_wrong_column_lists_the_columns(tmp_path):
    (tmp_path / "a.csv").write_text("title,story\na,b\n")
    with pytest.raises(InputError, match=r"'title', 'story'"):
        read(tmp_path / "a.csv")
    with pytest.raises(InputError, match="did you mean 'story'"):
        read(tmp_path / "a.csv", text_field="stories")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.txt", b"  \n ", "is empty"),
        ("a.txt", "caf\xe9".encode("latin1"), "not UTF-8: byte 3"),
        ("a.jsonl", b'{"text": "x"}\n{oops', "line 2 is not JSON"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "x", "text": "y"}', "line 2 .* 'text' stands twice"),
        ("a.jsonl", b"[1, 2]", "line 1 holds list"),
        ("a.jsonl", b'{"text": 3}', "holds int, not text"),
        ("a.jsonl", b'{"text": "\\ud83d"}', "half a character"),
        ("a.csv", b"text,text\na,b\n", "several columns named 'text'"),
        ("a.jsonl", b'{"text": [1, 2]}', "not of chat messages"),
        ("a.csv", b"text,n\na,1,2\n", "row 1 has 3 fields, the first row has 2"),
        # A quote that closes somewhere in a later row, or nowhere, swallows the rows between.
        ("a.csv", b'n,text\n1,"one\n2,two\n3,"three\n', r"begins in line 2 .* to line 4: ',' exp"),
        ("a.csv", b'text\nzero\n"one\ntwo\n', "begins in line 3 .*unexpected end"),
        ("a.csv", b'text,n\n"a \\"b\\" c",1\n', "begins in line 2"),
        ("a.parquet", b"nonsense", "not a parquet file"),
        ("a.docx", b"x", "'.docx'"),
    ],
)
def test_bad_files_are_refused_with_their_reason(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_missing_sources_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="did you mean 'builtin:fiction'"):
        read("builtin:ficton")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no text files"):
        read(tmp_path / "empty")


# Named datasets. The files look as those that are handed around: no header and doubled quotes
# in AG News, one JSON object a line with prompt, story and more in WritingPrompts.
NEWS = (
    '"3","Fears, after talks","Unions say they are \'disappointed\' \\after ""talks""."\n'
    '"4","Second\\team (SPACE.com)","SPACE.com - TORONTO, Canada -- A team of  #36;10."\n'
)
PROMPTS = [
    {"prompt": "[ WP ] A song .", "story": "Dianne wished . \n \n She hoped .", "row_id": "1"},
    {"prompt": "[ WP ] Life .", "story": "`` This is Steve ? ''", "src": "x/y.csv"},
]


def test_local_copies_of_the_named_datasets(tmp_path):
    (tmp_path / "news.csv").write_text(NEWS)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    news, prompts = f"ag_news:{tmp_path}/news.csv", f"writing_prompts:{tmp_path}/prompts.jsonl"
    assert texts(read(news)) == [
        "Unions say they are 'disappointed' \\after \"talks\".",
        "SPACE.com - TORONTO, Canada -- A team of  #36;10.",
    ]
    titles = ["Fears, after talks", "Second\\team (SPACE.com)"]
    assert texts(read(news, text_field="column_2")) == titles
    assert texts(read(prompts)) == [row["story"] for row in PROMPTS]
    assert texts(read(prompts, text_field="prompt")) == [row["prompt"] for row in PROMPTS]
    with pytest.raises(InputError, match=r"gone\.csv does not exist"):
        read(f"ag_news:{tmp_path}/gone.csv")
    with pytest.raises(InputError, match=r"no column 'column_9'.*'column_3'"):
        read(news, text_field="column_9")


def test_a_dataset_s_bare_name_is_the_hub_s_unless_it_lies_here(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        sources, "read_hub_dataset", lambda name, config: asked.append((name, config.text_field))
    )
    monkeypatch.chdir(tmp_path)
    for settings in ({}, {"text_field": "own"}):
        read("ag_news", **settings)
        read("writing_prompts", **settings)
    ids = ["fancyzhx/ag_news", "euclaise/writingprompts"]
    assert asked == [*zip(ids, ["text", "story"], strict=True), (ids[0], "own"), (ids[1], "own")]
    (tmp_path / "ag_news").mkdir()
    (tmp_path / "ag_news" / "mine.txt").write_text("of this folder")
    assert texts(read("ag_news")) == ["of this folder"]


def test_a_named_dataset_without_its_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("nothing that anybody asked for")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        read("ag_news:")


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_file_with_other_separators_is_named(mark, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f'id{mark}text\n1{mark}"He said ""no""; she left."\n')
    with pytest.raises(InputError, match="divides its fields by") as error:
        read(path)
    assert "comma" in error.value.needed
    path.write_text("text\nHe came; she left | again.\n")
    assert [document.text for document in read(path)] == ["He came; she left | again."]
    path.write_text("He came; text\n")
    assert [document.text for document in read(path, csv_header=False, text_field="column_1")]


@pytest.mark.parametrize(
    ("name", "row", "hint"),
    [
        ("a.jsonl", {"story": "x"}, "choose it with --text-field"),
        ("a.jsonl", {"prompt": "x", "completion": "y"}, "each pair of prompt and completion as a"),
        ("a.jsonl", {"talk": [{"role": "user", "content": "x"}]}, "--text-field talk"),
        ("a.jsonl", {"talk": [{"from": "user", "value": "x"}]}, "the keys role and content"),
        ("a.csv", {"story": "x"}, "data.csv_header=false"),
    ],
)
def test_a_missing_column_says_what_to_do_with_those_that_are_there(name, row, hint, tmp_path):
    path = tmp_path / name
    path.write_text("story\nx\n" if name.endswith("csv") else json.dumps(row))
    with pytest.raises(InputError, match="has no column 'text'") as error:
        read(path)
    assert hint in error.value.hint
    assert ("csv" in error.value.hint) == name.endswith("csv")
