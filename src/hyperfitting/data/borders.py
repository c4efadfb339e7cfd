"""How a tokenizer opens and closes a text: the one place that says so.

Windows, contexts, prompts, the texts that coherence and MAUVE read, and a local judge all go
through it. A tokenizer may put nothing, one token or several before a text, and may close every
text itself. What it appends belongs to no text that goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hyperfitting.data.template import ANY_DAY, ChatTemplate, Message
from hyperfitting.errors import InputError

_TEXTS = ("a", "It was late.")  # any two: what stands around both belongs to neither
_QUESTION, _ANSWERS = "Probe of a question?", ("Probe of an answer.", "7 other words of 1 answer")
_THOUGHT, _CALL = "Probe of a thought.", "probe_of_a_call"

OF_TOKENIZER = "the tokenizer's end of a text"
APPENDED = "the tokenizer puts it after every text"
OF_TURN = "closes the assistant's turn in the chat template"
OF_GENERATION = "the model's generation config stops at it"


@dataclass(frozen=True)
class Borders:
    """What stands around a text."""

    tokenizer: Any
    lead: list[int]  # before every text
    tail: list[int]  # appended by the tokenizer; never part of a context or a prompt

    @property
    def end(self) -> int:
        """The token that closes a whole text in training; decoding stops at it."""
        return self.tail[0] if self.tail else int(self.tokenizer.eos_token_id)

    def encode(self, text: str) -> list[int]:
        """The text alone. A control token that is written out in it stays plain characters.

        Where it is also a piece of the vocabulary (Unigram, WordLevel) it does not: see
        `control_tokens`.
        """
        return list(
            self.tokenizer(
                text, add_special_tokens=False, split_special_tokens=True, verbose=False
            )["input_ids"]
        )

    def encode_prompt(self, prompt: str) -> list[int]:
        """A prompt as its writer means it: control tokens count, and it is opened once."""
        ids = list(self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
        return ids if self.lead and ids[: len(self.lead)] == self.lead else self.lead + ids


def special_token_ids(tokenizer: Any) -> set[int]:
    """Every control token, also those without a role (`all_special_ids` omits them)."""
    unnamed = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return unnamed | set(tokenizer.all_special_ids)


class ControlTokens(NamedTuple):
    """The tokens that are no text, as ids and as they look when they are written out."""

    ids: frozenset[int]
    marks: tuple[str, ...]

    def opens_or_closes(self, text: str) -> bool:
        """Whether such a mark stands first or last, white space apart, as in a rendered chat."""
        text = text.strip()
        return text.startswith(self.marks) or text.endswith(self.marks)

    def stand_in(self, value: Any) -> bool:
        """Whether a mark stands in a text, or in any text of a list or mapping."""
        if isinstance(value, str):
            return any(mark in value for mark in self.marks)
        if isinstance(value, Mapping):
            value = value.values()
        elif not isinstance(value, (list, tuple)):
            return False
        return any(self.stand_in(each) for each in value)


def control_tokens(tokenizer: Any) -> ControlTokens:
    """Every control token and end of a text, without what stands for an unknown character."""
    framing = {tokenizer.bos_token_id, *end_tokens(tokenizer)}
    ids = (special_token_ids(tokenizer) | framing) - {None}
    if tokenizer.unk_token_id not in framing:
        ids -= {tokenizer.unk_token_id}
    marks = {str(token) for token in tokenizer.convert_ids_to_tokens(sorted(ids))}
    return ControlTokens(frozenset(ids), tuple(sorted(mark for mark in marks if mark.strip())))


def unknown_token_id(tokenizer: Any) -> int | None:
    """The token for what the vocabulary lacks; None where an end doubles as it, or without one."""
    unknown = tokenizer.unk_token_id
    return None if unknown is None or unknown in end_tokens(tokenizer) else int(unknown)


def borders_of(tokenizer: Any) -> Borders:
    """Read from the tokenizer what it puts around two short texts.

    Raises:
        InputError: what it puts there depends on the text.
    """
    around = [_around(tokenizer, text) for text in _TEXTS]
    if around[0] is None or around[0] != around[1]:
        raise InputError(
            "the tokenizer does not open and close every text with the same tokens",
            needed="a tokenizer that puts fixed tokens around the tokens of a text, or none",
        )
    return Borders(tokenizer, *around[0])


def _around(tokenizer: Any, text: str) -> tuple[list[int], list[int]] | None:
    """The tokens before and after those of the text itself."""
    whole = list(tokenizer(text)["input_ids"])
    alone = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    for start in range(len(whole) - len(alone) + 1):
        end = start + len(alone)
        if whole[start:end] == alone:
            return whole[:start], whole[end:]
    return None


def end_tokens(tokenizer: Any, declared: Sequence[int] = ()) -> dict[int, list[str]]:
    """Every token that ends a text, in rising order, with the reasons why.

    `declared` are those that the model's generation config stops at.
    """
    found: dict[int, list[str]] = {int(tokenizer.eos_token_id): [OF_TOKENIZER]}
    for i in borders_of(tokenizer).tail[:1]:
        found.setdefault(i, []).append(APPENDED)
    closer = turn_closer(tokenizer)
    if closer is not None:
        found.setdefault(closer, []).append(OF_TURN)
    for i in declared:
        found.setdefault(int(i), []).append(OF_GENERATION)
    return dict(sorted(found.items()))


def turn_closer(tokenizer: Any) -> int | None:
    """The token that surely closes an assistant's turn, found by rendering; None without one.

    It is the first thing after each of two answers, a token of its own, and neither opens the
    turn nor stands between the parts of one (a thought, an answer, a call).
    """
    try:
        template = ChatTemplate(tokenizer, ANY_DAY)
        closers = {_token_after(template, answer) for answer in _ANSWERS}
    except Exception:
        # No template, or one that refuses a plain exchange: it is a foreign program.
        return None
    closer = closers.pop()
    if closers or closer is None or _is_used_within(template, closer):
        return None
    return closer


def _exchange(answer: str, **more: Any) -> list[Message]:
    return [
        {"role": "user", "content": _QUESTION},
        {"role": "assistant", "content": answer, **more},
    ]


def _token_after(template: ChatTemplate, answer: str) -> int | None:
    """The token of its own that follows the answer, white space apart."""
    text = template.text(_exchange(answer))
    if text.count(answer) != 1:
        return None
    own = set(template.tokenizer.added_tokens_decoder) | special_token_ids(template.tokenizer)
    for i in template.tokens(text.split(answer)[1]):
        if str(template.tokenizer.decode([i])).strip():
            return i if i in own else None
    return None


def _is_used_within(template: ChatTemplate, closer: int) -> bool:
    """Whether the token also opens an assistant's turn or stands between its parts."""
    ask = _exchange(_ANSWERS[0])[:1]
    opened, asked = template.text(ask, prompt=True), template.text(ask)
    if closer in template.tokens(opened.removeprefix(asked)):
        return True
    call = {"type": "function", "function": {"name": _CALL, "arguments": {"of": "it"}}}
    for more in ({"reasoning_content": _THOUGHT}, {"tool_calls": [call]}):
        try:
            text = template.text(_exchange(_ANSWERS[0], **more))
        except Exception:
            continue  # a foreign program that does not know thoughts or calls
        places = [(text.rfind(part), part) for part in (_ANSWERS[0], _THOUGHT, _CALL)]
        places = sorted(place for place in places if place[0] >= 0)
        if len(places) > 1 and closer in template.tokens(text[places[0][0] : places[-1][0]]):
            return True
    return False
