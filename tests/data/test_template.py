"""Chat templates on a fixed day, and with content in parts."""

from datetime import date, datetime

import pytest

from hyperfitting.data.template import ChatTemplate, joined
from hyperfitting.errors import InputError
from tests.data.templates import CHATML, DATED, chatml, talk
from tests.tiny import byte_tokenizer

DAY = date(2026, 1, 10)
LLAMA = (
    "{%- if not date_string is defined %}\n"
    "    {%- if strftime_now is defined %}\n"
    '        {%- set date_string = strftime_now("%d %b %Y") %}\n'
    "    {%- else %}\n        {%- set date_string = '26 Jul 2024' %}\n    {%- endif %}\n"
    "{%- endif %}\n{{- 'Today Date: ' + date_string }}\n"
)
IN_A_MACRO = (
    "{% macro head() %}On {{ strftime_now('%Y-%m-%d') }} {% endmacro %}"
    "{% for m in messages %}{{ head() }}{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "written"),
    [
        (DATED, "Today: 10 Jan 2026\n[user]"),
        (LLAMA, "Today Date: 10 Jan 2026"),
        (IN_A_MACRO, "On 2026-01-10 "),
        ('{% set f = "%A, %B %d" %}{{ strftime_now(f) }}', "Saturday, January 10"),
        ("{{ strftime_now('%H:%M') }}", "00:00"),
    ],
)
def test_the_day_is_the_one_that_was_asked_for(template, written):
    rendered = ChatTemplate(byte_tokenizer(chat=template), DAY)
    assert rendered.text(talk("q", "a")).startswith(written)
    assert rendered.writes_date


@pytest.mark.parametrize("before", ["", "\n", "  ", "\n\n  ", "x ", " {% set y = 1 %}\n  "])
@pytest.mark.parametrize("template", [DATED, LLAMA, IN_A_MACRO])
def test_today_it_is_transformers_own_rendering_to_the_last_space(template, before):
    tokenizer = byte_tokenizer(chat=before + template)
    ours = ChatTemplate(tokenizer, datetime.now().date())
    for prompt in (False, True):
        theirs = tokenizer.apply_chat_template(
            list(talk("q", "a")), tokenize=False, add_generation_prompt=prompt
        )
        assert ours.text(talk("q", "a"), prompt=prompt) == theirs
    assert (
        ours.tokens(theirs)
        == tokenizer.apply_chat_template(list(talk("q", "a")), add_generation_prompt=True)[
            "input_ids"
        ]
    )


def test_a_template_without_a_date_writes_none():
    rendered = ChatTemplate(chatml(), DAY)
    rendered.text(talk("q", "a"))
    assert not rendered.writes_date


def test_a_format_that_cannot_be_foreseen_is_refused():
    tokenizer = byte_tokenizer(chat="{{ strftime_now('%' ~ 'd') }}")
    with pytest.raises(Exception, match="puts a date format together"):
        ChatTemplate(tokenizer, DAY).text(talk("q", "a"))


PARTS = (
    "{% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}({{ part.text }}){% endfor %}{% endif %}<|end|>{% endfor %}"
)


def test_text_parts_are_joined_where_the_template_prints_lists():
    question = [{"type": "text", "text": "one "}, "two"]
    plain = ChatTemplate(chatml(), DAY)
    assert plain.text(talk(question, "a")) == plain.text(talk("one two", "a"))
    # One that writes parts as it writes text gets them as they are.
    own = ChatTemplate(byte_tokenizer(chat=PARTS.replace("(", "").replace(")", "")), DAY)
    assert own.takes_parts
    assert own.text(talk(question, "a")) == own.text(talk("one two", "a"))
    marked = ChatTemplate(byte_tokenizer(chat=PARTS), DAY)
    assert not marked.takes_parts
    assert "user:one two<" in marked.text(talk(question, "a"))
    assert joined(None) == ""


def test_no_template_and_several_without_a_default_are_refused():
    with pytest.raises(InputError, match="no chat template"):
        ChatTemplate(byte_tokenizer(), DAY)
    with pytest.raises(InputError, match="cannot be used"):
        ChatTemplate(byte_tokenizer(chat={"a": CHATML, "b": CHATML}), DAY)
    with pytest.raises(InputError, match="cannot be used"):
        ChatTemplate(byte_tokenizer(chat="{{ strftime_now('%d)"), DAY)
