"""Conversations to tokens through the model's own chat template.

The template is run by transformers in its sandbox; nothing here formats a prompt by hand.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hyperfitting.data.sources import Document, Message
from hyperfitting.errors import InputError


class Conversation(NamedTuple):
    """A rendered conversation."""

    ids: list[int]
    by_assistant: list[bool]  # tokens of the assistant's turns; all False where not asked for
    last_answer: int | None  # where the last answer begins; None where that cannot be told


def special_token_ids(tokenizer: Any) -> set[int]:
    """Every control token, also those without a role (`all_special_ids` omits them)."""
    unnamed = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return unnamed | set(tokenizer.all_special_ids)


def _render(tokenizer: Any, messages: Sequence[Message], *, prompt: bool = False) -> list[int]:
    encoded = tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        tokenize=True,
        add_generation_prompt=prompt,
        return_dict=True,
        tokenizer_kwargs={"verbose": False},
    )
    return list(encoded["input_ids"])


def _answers(tokenizer: Any, document: Document, ids: list[int]) -> list[tuple[int, int]]:
    """First and last token of every assistant turn.

    A turn's tokens are those the rendering gains over the rendering of everything before it
    plus the template's generation prompt, so the end-of-turn token belongs to the assistant.
    """
    messages = document.messages or ()
    spans = []
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _render(tokenizer, messages[:number], prompt=True)
        upto = _render(tokenizer, messages[: number + 1])
        if ids[: len(before)] != before or ids[: len(upto)] != upto:
            raise InputError(
                f"{document.origin}: the chat template rewrites earlier turns, so the "
                "assistant's tokens cannot be told apart",
                hint="train on everything with --loss-on all, or on single-turn data",
            )
        spans.append((len(before), len(upto)))
    return spans


def _last_answer(tokenizer: Any, messages: Sequence[Message], ids: list[int]) -> int | None:
    """Where the last assistant turn begins, or None where the template hides it."""
    turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns:
        return None
    before = _render(tokenizer, messages[: turns[-1]], prompt=True)
    return len(before) if ids[: len(before)] == before else None


def encode_conversation(tokenizer: Any, document: Document, *, mark_answers: bool) -> Conversation:
    """Token ids of a conversation and where the assistant speaks.

    Raises:
        InputError: no chat template, a conversation the template refuses, or, where answers
            are to be marked, a template that renders a turn differently once others follow.
    """
    messages = document.messages or ()
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"{document.origin} is a conversation, but the model has no chat template",
            needed="an instruction-tuned model, or data in plain text",
            hint="choose a text column with --text-field",
        )
    try:
        ids = _render(tokenizer, messages)
        by_assistant = [False] * len(ids)
        for start, end in _answers(tokenizer, document, ids) if mark_answers else ():
            by_assistant[start:end] = [True] * (end - start)
        return Conversation(ids, by_assistant, _last_answer(tokenizer, messages, ids))
    except InputError:
        raise
    except Exception as error:
        # A template is a program of the model's author and raises what it likes.
        raise InputError(
            f"{document.origin}: the chat template refuses the conversation: {error}",
            needed="messages with the roles and order that the template accepts",
        ) from error
