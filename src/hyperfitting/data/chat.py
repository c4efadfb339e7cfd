"""Conversations to tokens through the model's own chat template.

The template is run by transformers in its sandbox; nothing here formats a prompt by hand.
"""

from collections.abc import Sequence
from typing import Any

from hyperfitting.data.sources import Document, Message
from hyperfitting.errors import InputError


def _render(tokenizer: Any, messages: Sequence[Message], *, prompt: bool = False) -> list[int]:
    encoded = tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        tokenize=True,
        add_generation_prompt=prompt,
        return_dict=True,
    )
    return list(encoded["input_ids"])


def encode_conversation(tokenizer: Any, document: Document) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation and, for each, whether the assistant wrote it.

    A turn's tokens are those the rendering gains over the rendering of everything before it
    plus the template's generation prompt, so the end-of-turn token belongs to the assistant.

    Raises:
        InputError: no chat template, a conversation the template refuses, or a template whose
            rendering of a prefix is not a prefix of the whole.
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
            by_assistant[len(before) : len(upto)] = [True] * (len(upto) - len(before))
    except InputError:
        raise
    except Exception as error:
        # A template is a program of the model's author and raises what it likes.
        raise InputError(
            f"{document.origin}: the chat template refuses the conversation: {error}",
            needed="messages with the roles and order that the template accepts",
        ) from error
    return ids, by_assistant
