"""Conversations to tokens, and where in them the assistant speaks.

A border is told only where re-rendering proves it; what cannot be told surely is said or refused.
"""

from typing import Any, NamedTuple

from hyperfitting.data.borders import ControlTokens
from hyperfitting.data.limits import OverLimitError
from hyperfitting.data.messages import called_functions, is_not_learnt, says_nothing
from hyperfitting.data.sources import Document
from hyperfitting.data.template import ChatTemplate, Message, joined
from hyperfitting.errors import InputError

_STAND_IN = "Stand-in for the 1 answer"
MOST_ANSWERS = 200  # of one conversation whose places are told: some seconds
UNASKED = "leave that first message out, or put a user's message before it"


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
        if part == self.ids[: len(part)]:
            return len(part)
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


def _header(whole: _Rendered, number: int, prompt: str) -> str:
    """What opens an answer behind a generation prompt that says nothing; empty in any other case.

    Many templates do not know the generation prompt and write the header with the answer.
    """
    try:
        if prompt != whole.text_of(number):
            return ""
        answer = {"role": "assistant", "content": _STAND_IN}
        exchange = [*whole.messages[:number], answer]
        parts = whole.template.text(exchange, tools=whole.tools).split(_STAND_IN)
    except Exception:
        return ""  # a foreign program, see above
    return parts[0].removeprefix(prompt) if len(parts) == 2 else ""


def _start(whole: _Rendered, number: int) -> tuple[int | None, str]:
    """Where the answer of message `number` begins, and what the generation prompt has beside.

    It begins after the template's generation prompt. Where stored answers are written without
    that prompt, putting other words in the answer's place shows what stands around it.
    """
    prompt = _generation_prompt(whole, number)
    start = whole.length_of(prompt) if prompt else None
    if start is not None:
        header = _header(whole, number, prompt)
        start = whole.length_of(prompt + header) if header.strip() else start
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


def _mark(whole: _Rendered, turns: list[int], origin: str, most: int) -> list[bool]:
    """Which tokens are of these answers, from the start of each to the end of its turn.

    Of the first `most` tokens, which are all that windows are cut from: each answer is found by
    rendering all before it, so that the last of a thousand would cost a thousand times the first.
    """
    marked = [False] * len(whole.ids)
    for count, number in enumerate(turns, start=1):
        if count > MOST_ANSWERS:
            raise InputError(
                f"{origin}: the windows hold more than {MOST_ANSWERS} answers of one conversation",
                needed=f"at most {MOST_ANSWERS}: where each begins is found by rendering all "
                "before it",
                hint="cut long conversations, shorten the windows (data.window_tokens=...), or "
                "use --loss-on all",
            )
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
            if unasked := _opens_with_answer(whole.messages) if number == turns[0] else "":
                raise InputError(
                    f"{origin}: {unasked}where that answer begins cannot be told",
                    needed="a user's message before the first answer, or --loss-on all",
                    hint=UNASKED,
                )
            raise InputError(
                f"{origin}: where the answer of message {number + 1} begins cannot be told: the "
                "chat template writes it otherwise than after its generation prompt",
                needed="--loss-on all, or a model whose template keeps answers as they are given",
            )
        marked[start:end] = [True] * (end - start)
        if end >= most:
            break
    return marked


def _text_end(whole: _Rendered, number: int, start: int, closers: frozenset[int]) -> int | None:
    """Where the answer's text ends: before the first control token, and before the next turn."""
    turn = whole.length_of(whole.text_of(number + 1))
    closing = next((i for i in range(start, len(whole.ids)) if whole.ids[i] in closers), None)
    ends = [end for end in (turn, closing) if end is not None]
    return min(ends, default=None)


def _check_what_is_said(whole: _Rendered, control: ControlTokens) -> None:
    """Leave out messages that say nothing or bring control tokens, and what is left unwritten."""
    said = [{**message, "content": joined(message.get("content"))} for message in whole.messages]
    if control.stand_in(said) or control.stand_in(whole.tools):
        raise UnusableError("control_token_in_content")
    if any(says_nothing(message) for message in whole.messages):
        raise UnusableError("message_says_nothing")
    if not all(name in whole.text for name in called_functions(whole.messages)):
        raise UnusableError("tool_calls_not_written")
    if whole.tools and whole.text == whole.template.text(whole.messages):
        raise UnusableError("tools_not_written")


def _turns_to_learn(messages: tuple[Message, ...]) -> list[int]:
    """The assistant's turns, without those that the row excepts from learning."""
    turns = _turns(messages)
    if not turns:
        raise UnusableError("no_answer")
    learnt = [number for number in turns if not is_not_learnt(messages[number])]
    if not learnt:
        raise UnusableError("no_answer_to_learn")
    return learnt


def _check_all_are_learnt(document: Document) -> None:
    """Refuse turns that are not to be learnt where the loss is to fall on every token."""
    for number, message in enumerate(document.messages or (), start=1):
        if is_not_learnt(message):
            raise InputError(
                f"{document.origin}: message {number} is marked as not to be learnt, but the loss "
                "is to fall on all messages",
                needed="data.loss_on=assistant (--loss-on assistant): such answers are left out",
                hint="take the mark (a weight of 0, train: false) out of the messages to train "
                "on all of them",
            )


def encode_conversation(
    template: ChatTemplate,
    document: Document,
    control: ControlTokens,
    *,
    mark_answers: bool,
    most_tokens: int,
) -> Conversation:
    """Token ids of a conversation and where the assistant speaks.

    The assistant's tokens are told among the first `most_tokens`.
    Answers that the row marks as not to be learnt count as not the assistant's.

    Raises:
        UnusableError: the conversation is to be left out, and why.
        InputError: a conversation the template refuses; where answers are to be marked, a template
            that does not let them be told apart; where not, a message that is not to be learnt.
    """
    try:
        if not mark_answers:
            _check_all_are_learnt(document)
        whole = _render(template, document)
        _check_what_is_said(whole, control)
        turns, marked = _turns(whole.messages), [False] * len(whole.ids)
        if mark_answers:
            marked = _mark(whole, _turns_to_learn(whole.messages), document.origin, most_tokens)
        start, unlike = _start(whole, turns[-1]) if turns else (None, "")
        end = None
        if start is not None:
            end = _text_end(whole, turns[-1], start, control.ids)
        return Conversation(whole.ids, marked, start if end is not None else None, end, unlike)
    except (InputError, UnusableError):
        raise
    except OverLimitError as error:
        raise InputError(
            f"{document.origin}: the model's chat template was stopped: {error}",
            needed="a chat template that writes a conversation in seconds",
            hint="do not trust this model folder: no template needs that",
        ) from error
    except Exception as error:
        # A template is a program of the model's author and raises what it likes.
        unasked = _opens_with_answer(document.messages or ())
        raise InputError(
            f"{document.origin}: {unasked}the chat template refuses the conversation: {error}",
            needed="messages with the roles and order that the template accepts",
            hint=UNASKED if unasked else None,
        ) from error


def _opens_with_answer(messages: tuple[Message, ...]) -> str:
    """What to say of a conversation in which the assistant speaks before anybody asked."""
    roles = [message["role"] for message in messages]
    first = next((role for role in roles if role not in ("system", "developer")), None)
    return "it opens with a message of the assistant, before any user's, and " * (
        first == "assistant"
    )


def roles_of(document: Document) -> list[Any]:
    """The roles of a conversation's messages, each once."""
    return list(dict.fromkeys(message["role"] for message in document.messages or ()))
