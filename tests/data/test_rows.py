"""What a chat row says beside its messages: functions, and what is not to be learnt."""

import json

import pytest

from hyperfitting.config import DataConfig
from hyperfitting.data.sources import Document, read_documents
from hyperfitting.data.windows import build_dataset
from hyperfitting.errors import InputError
from tests.data.templates import CHATML, STOP, WORDS, chatml, talk
from tests.data.test_chat import answer, call, chats, config, contexts, question, rows
from tests.tiny import END, byte_tokenizer

TOOLS = "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}" + CHATML


def read(tmp_path, *given):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return read_documents(DataConfig(source=str(path)))


def two_turns(first, last, count=6):
    """Conversations of two answers; `first` and `last` are further keys of these."""
    return [
        {
            "messages": [
                *talk(question(n), f"BAD {answer(n)}", **first),
                *talk("again", answer(n + 1), **last),
            ]
        }
        for n in range(count)
    ]


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": False}, {"loss": False}]
)
def test_an_answer_that_is_not_to_be_learnt_is_context_only(tmp_path, mark):
    documents = read(tmp_path, *two_turns(mark, {next(iter(mark)): 1}))
    tokenizer = chatml()
    dataset = build_dataset(documents, tokenizer, config(loss_on="assistant", window_tokens=256))
    for whole, trained in rows(dataset.train, tokenizer):
        assert "BAD" in whole
        n = int(whole.split("question number ")[1].split("?")[0])
        assert trained.strip() == answer(n + 1) + STOP
    with pytest.raises(
        InputError, match=r"row 1: message 2 is marked as not [^$]*--loss-on assist"
    ):
        build_dataset(documents, tokenizer, config(window_tokens=256))


def test_null_and_one_are_no_exception(tmp_path):
    documents = read(tmp_path, *two_turns({"weight": None}, {"weight": 1, "train": True}))
    for loss_on in ("assistant", "all"):
        settings = config(loss_on=loss_on, window_tokens=256)
        dataset = build_dataset(documents, chatml(), settings)
        assert all("BAD" in trained for _, trained in rows(dataset.train, chatml()))


def test_a_last_answer_that_is_not_to_be_learnt_is_no_human_text_and_no_end(tmp_path):
    bad = read(tmp_path, *two_turns({}, {"weight": 0}, 4))
    tokenizer = byte_tokenizer(chat=WORDS)
    settings = config(loss_on="assistant", window_tokens=256)
    for seed in range(4):
        dataset = build_dataset(
            [*chats(4), *bad], tokenizer, settings.model_copy(update={"split_seed": seed})
        )
        assert all(origin.startswith("chat") for origin in dataset.contexts.origins)
    for whole, trained in rows(dataset.train, tokenizer):
        assert whole.endswith(END)
        assert trained.endswith(END) is ("again" not in whole)
    with pytest.raises(InputError, match="4 mark their last answer as not to be learnt"):
        build_dataset(bad, tokenizer, settings)


def test_rows_without_an_answer_to_learn_are_counted(tmp_path):
    none = read(tmp_path, *two_turns({"weight": 0}, {"weight": 0}, 2))
    settings = config(loss_on="assistant", window_tokens=256)
    account = build_dataset([*none, *chats()], chatml(), settings).account
    assert account["no_answer_to_learn"] == 2
    with pytest.raises(InputError, match="2 mark every answer as not to be learnt"):
        build_dataset(none, chatml(), settings)


@pytest.mark.parametrize("mark", [{"weight": 0.5}, {"train": "no"}, {"loss": 2.31}])
def test_a_mark_between_learnt_and_not_is_refused_by_its_name(tmp_path, mark):
    with pytest.raises(InputError, match=rf"row 1.*message 2 has {next(iter(mark))} "):
        read(tmp_path, *two_turns(mark, {}))


def test_a_weight_alone_says_nothing():
    silent = [Document("s", messages=(*talk("q", "", weight=1), *talk("m", answer(1))))]
    assert build_dataset([*silent, *chats()], chatml(), config()).account["message_says_nothing"]


def test_functions_that_the_template_does_not_write_are_left_out_and_counted(tmp_path):
    given = [{"messages": list(d.messages), "tools": [call("look_up")]} for d in chats()]
    documents = read(tmp_path, *given)
    with pytest.raises(InputError, match="6 have functions in the column `tools` that the chat"):
        build_dataset(documents, chatml(), config())
    account = build_dataset([*chats(12)[6:], *documents[:2]], chatml(), config()).account
    assert account["tools_not_written"] == 2
    written = build_dataset(documents, chatml(TOOLS), config())
    assert all(c.startswith("<look_up>") for c, _ in contexts(written, chatml(TOOLS)))


@pytest.mark.parametrize(
    ("column", "value"),
    [("functions", [{"name": "f"}]), ("chat_template_kwargs", {"x": 1}), ("system", "Be brief.")],
)
def test_columns_that_others_render_are_not_passed_over(tmp_path, column, value):
    row = {"messages": list(talk("q", "a"))}
    with pytest.raises(InputError, match=rf"row 1: column '{column}' stands beside"):
        read(tmp_path, row | {column: value})
    assert len(read(tmp_path, row | {column: None}, row | {column: ""})) == 2


def test_a_system_column_that_repeats_the_first_message_is_no_fault(tmp_path):
    opening = {"role": "system", "content": "Be brief."}
    row = {"messages": [opening, *talk("q", "a")], "system": "Be brief."}
    assert read(tmp_path, row)[0].messages[0] == opening
