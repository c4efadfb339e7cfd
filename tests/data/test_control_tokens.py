"""Control tokens that somebody wrote out, in messages and in plain texts."""

import pytest

from hyperfitting.data.sources import Document
from hyperfitting.data.windows import build_dataset
from hyperfitting.errors import InputError
from tests.data.templates import START, STOP, chatml, talk
from tests.data.test_chat import answer, call, chats, config, question, rows
from tests.data.test_rows import TOOLS
from tests.tiny import END, byte_tokenizer


def with_tools(description):
    described = call("look_up")
    described["function"]["description"] = description
    return Document("t", messages=talk(question(9), answer(9)), tools=(described,))


@pytest.mark.parametrize("token", [START, STOP, END])
@pytest.mark.parametrize(
    "written",
    [
        lambda token: Document("u", messages=talk(f"what is {token}?", answer(9))),
        lambda token: Document("a", messages=talk(question(9), f"{answer(9)} {token} more")),
        lambda token: Document("p", messages=talk([token[:3], token[3:]], answer(9))),
        lambda token: Document("c", messages=talk("q", answer(9), tool_calls=[call(token)])),
        with_tools,
    ],
)
def test_a_message_that_writes_out_a_control_token_is_left_out_and_counted(token, written):
    dataset = build_dataset([written(token), *chats()], chatml(TOOLS), config())
    assert dataset.account["control_token_in_content"] == 1
    tokenizer = chatml(TOOLS)
    assert all(whole.count(START) == 2 for whole, _ in rows(dataset.train, tokenizer))
    with pytest.raises(InputError, match="1 hold a message with a control token"):
        build_dataset([written(token)], tokenizer, config())


def rendered(count=6):
    tokenizer = chatml()
    return [
        Document(d.origin, tokenizer.apply_chat_template(list(d.messages), tokenize=False))
        for d in chats(count)
    ]


def closed_by_hand(count=6):
    return [Document(f"t {n}", f"Text number {n} and more words. {END}\n") for n in range(count)]


@pytest.mark.parametrize("documents", [rendered, closed_by_hand])
def test_texts_that_hold_a_rendered_chat_are_refused(documents):
    with pytest.raises(
        InputError, match=r"6 are texts that open or close with a control token"
    ) as e:
        build_dataset(documents(), chatml(), config())
    assert "`messages` column" in str(e.value)
    others = [Document(f"o {n}", f"{n} other texts with enough words.") for n in range(6)]
    account = build_dataset([*others, *documents(2)], chatml(), config()).account
    assert (account["marked_up"], account["training_documents"]) == (2, 4)


def test_a_text_about_control_tokens_is_text_and_said():
    texts = [Document(f"t {n}", f"{n}: the mark {STOP} ends a turn.") for n in range(6)]
    tokenizer = chatml()
    dataset = build_dataset(texts, tokenizer, config())
    assert dataset.account["control_tokens_as_characters"] == 6
    assert tokenizer.convert_tokens_to_ids(STOP) not in dataset.train.ids_NT
    plain = [Document(f"t {n}", f"{n}: here the mark of an end is none.") for n in range(6)]
    assert "control_tokens_as_characters" not in build_dataset(plain, tokenizer, config()).account


def test_what_stands_for_an_unknown_character_is_no_control_token():
    from hyperfitting.data.borders import control_tokens

    tokenizer = byte_tokenizer(unnamed=("<unk>", STOP))
    tokenizer.unk_token = "<unk>"
    assert set(control_tokens(tokenizer).marks) == {END, STOP}
    tokenizer.unk_token = END  # as GPT-2, where one token is everything
    assert set(control_tokens(tokenizer).marks) == {END, STOP, "<unk>"}
