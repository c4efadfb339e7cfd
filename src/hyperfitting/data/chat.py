"""Conversations to tokens, and where in them the assistant speaks.

A border is told only where re-rendering proves it; what cannot be told surely is said or refused.
"""

from typing import Any, NamedTuple

from hyperfitting.data.borders import special_token_ids
from hyperfitting.data.messages import called_functions, says_nothing
from hyperfitting.data.sources import Document
from hyperfitting.data.template import ChatTemplate, Message, joined
from hyperfitting.errors import InputError

_STAND_IN = "Stand-in for the 1 answer"


class UnusableError(Exception):
    """A conversation that is left out; `reason` is a key of `reasons.DROPPED`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Conversation(NamedTuple):
    """A rendered conversation."""

    ids: list[int]
    by_assistant: list[bool]  # tokens of the assistant's turns; all False where not asked for
    last_answer: int | None  # where the last answer begins; None where that cannot be told
    text_end: int | None  # where the last answer's text ends, before what closes its turn
    unlike_prompt: str  # what the generation prompt has that the stored answers do not open with


class _Rendered(NamedTuple):
    """A conversation as text and tokens, beside what it was rendered from."""

    template: ChatTemplate
    messages: tuple[Message, ...]
    tools: tuple[Message, ...] | None
    text: str
    ids: list[int]

    def text_of(self, count: int, *, prompt: bool = False) -> str:
        """The first `count` messages alone; with `prompt`, the assistant is to speak next."""
        return self.template.text(self.messages[:count], prompt=prompt, tools=self.tools)

    def length_of(self, beginning: str) -> int | None:
        """How many tokens of the whole its beginning is; None where it is no beginning.

        White space at the border may be part of the next token: then that token is not counted.
        """
        part = self.template.tokens(beginning)
        pairs = zip(part, self.ids, strict=False)
        same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(part), len(self.ids)))
        if same == len(part):
            return same
        rest = str(self.template.tokenizer.decode(part[same:]))
        return None if rest.strip() or not self.text.startswith(beginning) else same


def _render(template: ChatTemplate, document: Document) -> _Rendered:
    messages = document.messages or ()
    text = template.text(messages, tools=document.tools)
    return _Rendered(template, messages, document.tools, text, template.tokens(text))


def _turns(messages: tuple[Message, ...]) -> list[int]:
    return [number for number, message in enumerate(messages) if message["role"] == "assistant"]


def _generation_prompt(whole: _Rendered, number: int) -> str:
    """All before message `number`, ready for the assistant; empty where that cannot be rendered."""
    try:
        return whole.text_of(number, prompt=True) if number else ""
    except Exception:
        return ""  # a foreign program, which may refuse what does not end with a user's turn


def _start(whole: _Rendered, number: int) -> tuple[int | None, str]:
    """Where the answer of message `number` begins, and what the generation prompt has beside.

    It begins after the template's generation prompt. Where stored answers are written without
    that prompt, putting other words in the answer's place shows what stands around it.
    """
    prompt = _generation_prompt(whole, number)
    start = whole.length_of(prompt) if prompt else None
    if start is not None:
        return start, ""
    content = joined(whole.messages[number].get("content")).strip()
    changed = [*whole.messages]
    changed[number] = {**changed[number], "content": _STAND_IN}
    parts = whole.template.text(changed, tools=whole.tools).split(_STAND_IN)
    if len(parts) != 2:
        return None, ""
    before, after = parts
    fits = whole.text.startswith(before) and whole.text.endswith(after)
    answer = whole.text[len(before) : len(whole.text) - len(after)].strip()
    if not fits or not answer or not content.endswith(answer):
        return None, ""
    shared = next((n for n, (a, b) in enumerate(zip(prompt, before, strict=False)) if a != b), None)
    return whole.length_of(before), prompt[len(before) if shared is None else shared :]


def _mark(whole: _Rendered, origin: str) -> list[bool]:
    """Which tokens are the assistant's, from the start of each answer to the end of its turn."""
    marked = [False] * len(whole.ids)
    for number in _turns(whole.messages):
        end = whole.length_of(whole.text_of(number + 1))
        if end is None:
            raise InputError(
                f"{origin}: the chat template rewrites earlier turns: it writes the answer of "
                f"message {number + 1} otherwise once others follow, so the assistant's tokens "
                "cannot be told apart",
                needed="--loss-on all, or one conversation for each answer, which stands last",
            )
        start, _ = _start(whole, number)
        if start is None:
            raise InputError(
                f"{origin}: where the answer of message {number + 1} begins cannot be told: the "
                "chat template writes it otherwise than after its generation prompt",
                needed="--loss-on all, or a model whose template keeps answers as they are given",
            )
        marked[start:end] = [True] * (end - start)
    return marked


def _text_end(whole: _Rendered, number: int, start: int, closers: set[int]) -> int | None:
    """Where the answer's text ends: before the first control token, and before the next turn."""
    turn = whole.length_of(whole.text_of(number + 1))
    closing = next((i for i in range(start, len(whole.ids)) if whole.ids[i] in closers), None)
    ends = [end for end in (turn, closing) if end is not None]
    return min(ends, default=None)


def _check_what_is_said(whole: _Rendered, ends: set[int]) -> None:
    """Leave out a message that says nothing or ends its turn itself, and calls left unwritten."""
    closing = [str(token) for token in whole.template.tokenizer.convert_ids_to_tokens([*ends])]
    said = [joined(message.get("content")) for message in whole.messages]
    if any(token in content for token in closing for content in said):
        raise UnusableError("end_in_content")
    if any(says_nothing(message) for message in whole.messages):
        raise UnusableError("message_says_nothing")
    if not all(name in whole.text for name in called_functions(whole.messages)):
        raise UnusableError("tool_calls_not_written")


def encode_conversation(
    template: ChatTemplate, document: Document, ends: set[int], *, mark_answers: bool
) -> Conversation:
    """Token ids of a conversation and where the assistant speaks; `ends` are what ends a text.

    Raises:
        UnusableError: the conversation is to be left out, and why.
        InputError: a conversation the template refuses, or, where answers are to be marked, a
            template that does not let them be told apart.
    """
    try:
        whole = _render(template, document)
        _check_what_is_said(whole, ends)
        turns = _turns(whole.messages)
        if mark_answers and not turns:
            raise UnusableError("no_answer")
        marked = _mark(whole, document.origin) if mark_answers else [False] * len(whole.ids)
        start, unlike = _start(whole, turns[-1]) if turns else (None, "")
        end = None
        if start is not None:
            closers = special_token_ids(template.tokenizer) | ends
            end = _text_end(whole, turns[-1], start, closers)
        return Conversation(whole.ids, marked, start if end is not None else None, end, unlike)
    except (InputError, UnusableError):
        raise
    except Exception as error:
        # A template is a program of the model's author and raises what it likes.
        raise InputError(
            f"{document.origin}: the chat template refuses the conversation: {error}",
            needed="messages with the roles and order that the template accepts",
        ) from error


def roles_of(document: Document) -> list[Any]:
    """The roles of a conversation's messages, each once."""
    return list(dict.fromkeys(message["role"] for message in document.messages or ()))
