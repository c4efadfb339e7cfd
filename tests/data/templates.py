"""Chat templates as models ship them, shortened, with the tokenizers they belong to."""

from tests.tiny import END, byte_tokenizer

START, STOP = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The generation prompt opens a thought, which stored answers are written without.
OPENS_THOUGHT = (
    "{% for m in messages %}{% if m.role == 'user' %}<|u|>{{ m.content }}{% else %}"
    "<|a|>{{ m.content.split('</think>')[-1] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|a|><think>\n{% endif %}"
)
# Only the last answer has a thought, an empty one.
THINKS_LAST = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DATED = (
    "{% set day = strftime_now('%d %b %Y') %}Today: {{ day }}\n"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
# A channel's end stands between thought and answer, another token ends the turn.
CHANNELS = (
    "{% for m in messages %}{% if m.role == 'user' %}<|u|>{{ m.content }}<|stop|>{% else %}<|u|>a"
    "{% if m.reasoning_content %}{{ m.reasoning_content }}CLOSER<|u|>a{% endif %}"
    "{{ m.content }}{% if loop.last %}<|done|>{% else %}<|stop|>{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|u|>a{% endif %}"
)
# No token of its own opens or closes a turn.
WORDS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def chatml(template=CHATML, **options):
    """A base model's tokenizer: texts end with `<|end|>`, turns with `<|im_end|>`."""
    return byte_tokenizer(chat=template, unnamed=(START, STOP), **options)


def opens_thought():
    return byte_tokenizer(chat=OPENS_THOUGHT, unnamed=("<|u|>", "<|a|>"))


def talk(question, answer, **more):
    return (
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer, **more},
    )


__all__ = ["END", "START", "STOP", "chatml", "opens_thought", "talk"]
