"""Where a judge's reasoning ends and its answer begins. Pure.

Models mark their reasoning in many ways, and servers and tokenizers may swallow one of the two
marks. What stands before the last closing mark is reasoning, whether or not it was opened: many
chat templates open it in the prompt. Reasoning that is opened and never closed has no answer.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_TAGS = (
    "think", "thinking", "thought", "thoughts", "reason", "reasoning", "reflection", "analysis",
    "rationale", "scratchpad", "scratch_pad", "monologue", "deliberation", "chain_of_thought",
    "cot", "planning", "plan", "draft",
)  # fmt: skip
_TOKENS = ("think", "thinking", "thought", "reasoning")
# Family: what opens it, what closes it. Only its own mark closes a family.
_FAMILIES: dict[str, tuple[str, str]] = {
    # DeepSeek, Qwen, GLM, OLMo: <think>; with a prefix <seed:think>, <longcat_think>
    **{
        f"tag_{name}": (rf"<(?:\w+[:_-])?{name}(?:\s[^<>]*)?>", rf"</(?:\w+[:_-])?{name}\s*>")
        for name in _TAGS
    },
    # OpenThinker <|begin_of_thought|>, Cohere <|START_THINKING|>
    **{
        f"token_{name}": (
            rf"<\|(?:begin|start)_?(?:of_?)?{name}\|>|<\|{name}_(?:start|begin)\|>",
            rf"<\|end_?(?:of_?)?{name}\|>|<\|{name}_end\|>",
        )
        for name in _TOKENS
    },
    "solar": (r"<\|think\|>", r"<\|/think\|>|<\|content\|>"),
    "apertus": (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    "mistral": (r"(?-i:\[THINK\])", r"(?-i:\[/THINK\])"),
    "kimi": ("◁think▷", "◁/think▷"),
    "granite": (r"here(?:'s| is) my thought process:", r"here(?:'s| is) my response:"),
    "apriel": ("here are my reasoning steps:", r"\[BEGIN FINAL RESPONSE\]"),
    # gpt-oss: every channel but `final`. Where a server drops the special tokens, the text begins
    # with the bare name of the first channel and goes on as `assistantfinal`.
    "harmony": (
        r"<\|channel\|>|\A\s*(?-i:analysis)(?=(?-i:[A-Z\"']))",
        r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>|assistantfinal",
    ),
    # Gemma 4. Without the special tokens only the channel's name is left, and no end.
    "gemma": (r"<\|channel>|\A\s*(?-i:thought)[^\S\n]*\n", r"<channel\|>"),
}
_MARKS = re.compile(  # closing first: harmony's begins as its opening one does
    "|".join(
        f"(?P<{family}__close>{closing})|(?P<{family}__open>{opening})"
        for family, (opening, closing) in _FAMILIES.items()
    ),
    re.IGNORECASE,
)


class Split(NamedTuple):
    """A text cut after its reasoning; `unclosed` are the marks that open some and never end it."""

    answer: str
    unclosed: tuple[str, ...]


def _marks(text: str) -> Iterator[tuple[str, bool, re.Match[str]]]:
    """Family, whether it closes, and the mark, in the order of the text."""
    for mark in _MARKS.finditer(text):
        family, kind = str(mark.lastgroup).split("__")
        yield family, kind == "close", mark


def split_reasoning(text: str) -> Split:
    """What follows the reasoning in a text; all of it where none is marked.

    The answer is empty where reasoning is unclosed: what follows belongs to it.
    """
    start, opened = 0, dict[str, str]()
    for family, closes, mark in _marks(text):
        if closes:
            start = mark.end()
            opened.pop(family, None)
        else:
            opened.setdefault(family, mark.group())
    return Split("" if opened else text[start:], tuple(opened.values()))


def defuse(text: str) -> str:
    """A judged text in which no bracketed mark can be read: a space stands inside each.

    Marks in plain words stay; anybody may write them.
    """
    return _MARKS.sub(_spaced, text)


def _spaced(mark: re.Match[str]) -> str:
    found = mark.group()
    return f"{found[0]} {found[1:]}" if found[0] in "<[◁" else found
