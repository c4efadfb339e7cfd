"""How tokenizers open and close texts: exact facts, templates that close turns or do not."""

import pytest

from hyperfitting.data.borders import (
    APPENDED,
    OF_GENERATION,
    OF_TOKENIZER,
    OF_TURN,
    borders_of,
    end_tokens,
    turn_closer,
)
from hyperfitting.errors import InputError
from tests.data.templates import (
    CHANNELS,
    CHATML,
    DATED,
    OPENS_THOUGHT,
    STOP,
    THINKS_LAST,
    WORDS,
    chatml,
)
from tests.tiny import END, byte_tokenizer

AROUND = {
    "nothing": (None, [], []),
    "one": (f"{END} $A", [0], []),
    "two": ("<|a|> <|b|> $A", [257, 258], []),
    "closed": (f"$A {END}", [], [0]),
    "opened and closed": (f"<|a|> $A {END}", [257], [0]),
    "closed by another": ("$A <|sep|>", [], [257]),
}


@pytest.mark.parametrize("name", AROUND)
def test_what_stands_around_every_text(name):
    around, lead, tail = AROUND[name]
    tokenizer = byte_tokenizer(around=around)
    borders = borders_of(tokenizer)
    assert (borders.lead, borders.tail) == (lead, tail)
    assert (
        borders.lead + borders.encode("so it is") + borders.tail == tokenizer("so it is").input_ids
    )
    assert borders.end == (tail[0] if tail else 0)
    assert borders.end in end_tokens(tokenizer)


def test_a_prompt_is_opened_once_and_never_closed():
    borders = borders_of(byte_tokenizer(around=f"<|a|> <|b|> $A {END}"))
    once = borders.encode_prompt("so")
    assert once == [*borders.lead, *borders.encode("so")]
    assert borders.encode_prompt("<|a|><|b|>so") == once


def test_what_depends_on_the_text_is_refused():
    tokenizer = byte_tokenizer()

    def odd(text, **options):
        ids = tokenizer(text, **options)
        if options.get("add_special_tokens", True) and len(text) > 1:
            ids["input_ids"] = [0, *ids["input_ids"]]
        return ids

    with pytest.raises(InputError, match="does not open and close every text"):
        borders_of(odd)


def test_ends_are_listed_with_their_reasons():
    tokenizer = chatml()
    stop = tokenizer.convert_tokens_to_ids(STOP)
    assert end_tokens(tokenizer, [0, 7]) == {
        0: [OF_TOKENIZER, OF_GENERATION],
        7: [OF_GENERATION],
        stop: [OF_TURN],
    }
    assert end_tokens(byte_tokenizer(around="$A <|sep|>")) == {0: [OF_TOKENIZER], 257: [APPENDED]}
    assert end_tokens(byte_tokenizer()) == {0: [OF_TOKENIZER]}


def test_a_closer_that_is_no_special_token_counts_too():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<turn>", "</turn>"])
    tokenizer.chat_template = CHATML.replace("<|im_start|>", "<turn>").replace(STOP, "</turn>")
    assert turn_closer(tokenizer) == tokenizer.convert_tokens_to_ids("</turn>")


@pytest.mark.parametrize(
    ("template", "closer"),
    [
        (CHATML, STOP),
        (THINKS_LAST, STOP),
        (OPENS_THOUGHT, END),
        (DATED, END),
        (CHATML.replace("}<|im_end|>", "} \n <|im_end|>"), STOP),  # white space before it
        (CHATML.replace("{{ m.content }}", "{{ m.content | trim }}"), STOP),
        (WORDS, None),
        (CHATML.replace(STOP, "|im_end|"), None),  # not a token of its own
        (CHATML.replace(STOP, "|"), None),
        # It opens the turn as well, so after a prompt it may be the header.
        (CHATML.replace("assistant\n{% endif", "assistant<|im_end|>\n{% endif"), None),
        # It stands only between turns: the last answer goes on.
        (CHATML.replace(STOP, "{% if not loop.last %}<|im_end|>{% endif %}"), None),
        ("{{ raise_exception('no') }}", None),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", None),  # writes no answer
        ("{% oops", None),
    ],
)
def test_only_what_surely_closes_a_turn_ends_a_text(template, closer):
    tokenizer = chatml(template)
    expected = closer and tokenizer.convert_tokens_to_ids(closer)
    assert turn_closer(tokenizer) == expected


@pytest.mark.parametrize(("inner", "sure"), [("<|stop|>", True), ("<|done|>", False)])
def test_a_token_between_thought_and_answer_ends_no_text(inner, sure):
    """As in templates with channels: the end of a thought is not the end of the turn."""
    names = ("<|u|>", "<|stop|>", "<|done|>")
    tokenizer = byte_tokenizer(chat=CHANNELS.replace("CLOSER", inner), unnamed=names)
    done = tokenizer.convert_tokens_to_ids("<|done|>")
    assert turn_closer(tokenizer) == (done if sure else None)


def test_a_token_between_answer_and_call_ends_no_text():
    call = "{% if m.tool_calls %}<|im_end|>{{ m.tool_calls[0].function.name }}{% endif %}"
    assert turn_closer(chatml(CHATML.replace(STOP, call + STOP))) is None
