"""Texts and conversations to tokens; what cannot be used is dropped and counted."""

from dataclasses import dataclass, replace
from typing import Any

from hyperfitting.config import DataConfig
from hyperfitting.data.chat import encode_conversation, special_token_ids
from hyperfitting.data.sources import Document
from hyperfitting.errors import InputError
from hyperfitting.progress import Stage


@dataclass(frozen=True)
class EncodedDocument:
    """A document in tokens. `lead` (a BOS token or nothing) opens every cut made from it."""

    origin: str
    lead: list[int]
    ids: list[int]  # without the lead
    trained: list[bool]  # tokens of `ids` that the loss may fall on
    prompt_tokens: int | None = None  # conversations: where the last answer begins
    text_end: int | None = None  # conversations: where the last answer's text ends

    def __len__(self) -> int:
        return len(self.lead) + len(self.ids)

    def cut(self, start: int, width: int) -> tuple[list[int], list[bool]]:
        """At most `width` tokens from `start` on, the lead included, and which are trained on."""
        end = start + width - len(self.lead)
        return (
            self.lead + self.ids[start:end],
            [False] * len(self.lead) + self.trained[start:end],
        )


def _encode_chat(document: Document, tokenizer: Any, config: DataConfig) -> EncodedDocument:
    only_answers = config.loss_on == "assistant"
    chat = encode_conversation(tokenizer, document, mark_answers=only_answers)
    trained = chat.by_assistant if only_answers else [True] * len(chat.ids)
    special = special_token_ids(tokenizer)
    start, end = chat.last_answer, None
    if start is not None:  # the answer's text, without the tokens that close its turn
        end = next((i for i in range(start, len(chat.ids)) if chat.ids[i] in special), None)
        end = len(chat.ids) if end is None else end
    return EncodedDocument(document.origin, [], chat.ids, trained, start, end)


def _encode(
    document: Document, tokenizer: Any, lead: list[int], config: DataConfig
) -> EncodedDocument:
    if document.messages is not None:
        return _encode_chat(document, tokenizer, config)
    if config.loss_on == "assistant":
        raise InputError(
            f"{document.origin} is plain text, but the loss is to fall on the assistant only",
            needed="data with a `messages` column",
            hint="leave out --loss-on, or choose the column with --text-field",
        )
    # A control token that is written out in a text stays plain characters.
    ids = tokenizer(
        document.text, add_special_tokens=False, split_special_tokens=True, verbose=False
    )["input_ids"]
    return EncodedDocument(document.origin, lead, list(ids), [True] * len(ids))


def _lead(tokenizer: Any) -> list[int]:
    """The tokens this tokenizer puts before a text: its BOS token or none."""
    bos = tokenizer.bos_token_id
    opens = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return [bos] if opens else []


def _content_key(document: Document) -> str:
    """Equal for documents that differ in white space only."""
    if document.messages is not None:
        return repr([(m["role"], m["content"]) for m in document.messages])
    return " ".join(document.text.split())


def usable_documents(
    documents: list[Document],
    tokenizer: Any,
    config: DataConfig,
    account: dict[str, int],
    stage: Stage | None,
) -> list[EncodedDocument]:
    """Tokenised documents without the empty, the repeated and those that fill no window.

    Two documents are also repeats when they open with the same window: one of them held out
    would be a training text under another name. One long text becomes sections, see `_sections`.

    Raises:
        InputError: nothing is left, or data that does not fit `loss_on`.
    """
    seen: set[str] = set()
    seen_windows: set[tuple[int, ...]] = set()
    usable, lengths = [], []
    lead, needed = _lead(tokenizer), needed_tokens(config)
    account |= {"read": len(documents), "empty": 0, "duplicate": 0, "too_short": 0}
    account |= {"nothing_to_train_on": 0}
    for done, document in enumerate(documents):
        if stage:
            stage.update(done, f"{done} of {len(documents)} documents")
        key = _content_key(document)
        if not key or document.messages == ():
            account["empty"] += 1
            continue
        if key in seen:
            account["duplicate"] += 1
            continue
        seen.add(key)
        encoded = _encode(document, tokenizer, lead, config)
        lengths.append(len(encoded))
        ids, trained = encoded.cut(0, config.window_tokens)
        if len(encoded) < needed:
            account["too_short"] += 1
        elif not any(trained[1:]):  # no answer, or only beyond the window
            account["nothing_to_train_on"] += 1
        elif tuple(ids) in seen_windows:
            account["duplicate"] += 1
        else:
            seen_windows.add(tuple(ids))
            usable.append(encoded)
    if not usable:
        raise _nothing_usable(config, account, lengths)
    return _sections(usable, config, account)


def needed_tokens(config: DataConfig) -> int:
    """Fewest tokens a document must have to be a training window."""
    return config.window_tokens if config.windows == "fixed" else 2


def _nothing_usable(config: DataConfig, account: dict[str, int], lengths: list[int]) -> InputError:
    if not lengths:
        return InputError(f"{config.source} holds no text", needed="documents with text")
    if account["nothing_to_train_on"]:
        return InputError(
            f"no window of {config.source} holds a token to train on: in "
            f"{account['nothing_to_train_on']} documents the assistant says nothing within the "
            f"first {config.window_tokens} tokens",
            needed="answers inside the window",
            hint="use longer windows (data.window_tokens=...), or --loss-on all",
        )
    return InputError(
        f"no document of {config.source} fills one window: the longest has {max(lengths)} tokens",
        needed=f"at least {needed_tokens(config)} tokens",
        hint="use shorter windows (data.window_tokens=..., with data.context_tokens and "
        "data.continuation_tokens), or --windows documents",
    )


def _sections(
    usable: list[EncodedDocument], config: DataConfig, account: dict[str, int]
) -> list[EncodedDocument]:
    """One long text becomes consecutive sections, each of one window, so it can be split."""
    only = usable[0]
    width = max(config.window_tokens, config.context_tokens + config.continuation_tokens)
    step = width - len(only.lead)
    starts = range(0, len(only.ids) - step + 1, step)
    if len(usable) > 1 or only.prompt_tokens is not None or len(starts) < 2:
        return usable
    account["sections_of_the_only_document"] = len(starts)
    return [
        replace(
            only,
            origin=f"{only.origin}, token {start}",
            ids=only.ids[start : start + step],
            trained=only.trained[start : start + step],
        )
        for start in starts
    ]
