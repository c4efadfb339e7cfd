"""A chat template in Ollama's language, where it only frames messages."""

import pytest

from hyperfitting.export.modelfile import frame_of, modelfile
from tests.tiny import END, byte_tokenizer

TURN = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}" + END + "{% endfor %}"
OPEN = "{% if add_generation_prompt %}<assistant>{% endif %}"
DEFAULT = "{% if messages[0]['role'] != 'system' %}<system>Be brief." + END + "{% endif %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('none') }}{% endif %}"
FRAMES = {
    "plain": (
        TURN + OPEN,
        "{{ if .System }}<system>{{ .System }}" + END + "{{ end }}",
    ),
    "with a default": (
        DEFAULT + TURN + OPEN,
        "{{ if .System }}<system>{{ .System }}" + END + "{{ end }}",
    ),
    "without system messages": (NO_SYSTEM + TURN + OPEN, ""),
}  # fmt: skip
TURNS = "<user>{{ .Prompt }}" + END + "<assistant>{{ .Response }}" + END
# These do more: change texts, count turns, write the date, or look like Ollama's own.
MORE = {
    "upper": TURN.replace("m['content']", "m['content'] | upper") + OPEN,
    "counted": TURN.replace("<{{ m['role'] }}>", "<{{ loop.index }}>") + OPEN,
    "dated": "{{ strftime_now('%d %B') }}" + TURN + OPEN,
    "another language": TURN.replace("<{{", "{{ '{{' }}{{") + OPEN,
    "open otherwise": TURN + "{% if add_generation_prompt %}<model>{% endif %}",
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_translated(name):
    template, before = FRAMES[name]
    frame = frame_of(byte_tokenizer(chat=template))
    assert frame.as_go() == before + TURNS
    text = modelfile("./model.gguf", [END], frame, is_chat=True)
    assert text.splitlines()[0] == "FROM ./model.gguf"
    assert f'TEMPLATE """{before}{TURNS}"""' in text
    assert f'PARAMETER stop "{END}"' in text
    assert "PARAMETER temperature 0" in text


def test_a_default_system_message_is_said_once_for_all_turns():
    """In the template it would stand before every turn: Ollama runs it once for each."""
    frame = frame_of(byte_tokenizer(chat=DEFAULT + TURN + OPEN))
    text = modelfile(".", [END], frame, is_chat=True)
    assert 'SYSTEM """Be brief."""' in text
    assert "Be brief" not in frame.as_go()
    odd = "{% if messages[0]['role'] != 'system' %}Hello. {% endif %}"
    assert frame_of(byte_tokenizer(chat=odd + TURN + OPEN)) is None


@pytest.mark.parametrize("name", MORE)
def test_what_does_more_than_frame_is_not(name):
    assert frame_of(byte_tokenizer(chat=MORE[name])) is None
    assert "TEMPLATE" not in modelfile(".", [END], None, is_chat=True)


def test_a_model_that_is_no_chat_goes_on_with_its_prompt():
    assert frame_of(byte_tokenizer()) is None
    assert 'TEMPLATE """{{ .Prompt }}"""' in modelfile(".", [END], None, is_chat=False)


def test_what_the_tokenizer_puts_first_is_left_to_it():
    """Ollama reads the same tokenizer: written out too, the first token would stand there twice."""
    template = "<|begin|>" + TURN + OPEN
    frame = frame_of(byte_tokenizer(chat=template, around="<|begin|> $A"))
    assert frame.lead == "<|begin|>"
    assert "<|begin|>" not in frame.as_go()
