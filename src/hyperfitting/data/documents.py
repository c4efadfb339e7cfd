"""Texts and conversations to tokens; what cannot be used is dropped and counted by its reason."""

import json
from dataclasses import dataclass, replace
from datetime import date

from hyperfitting.config import DataConfig
from hyperfitting.data.borders import Borders, control_tokens, end_tokens
from hyperfitting.data.chat import UnusableError, encode_conversation, roles_of
from hyperfitting.data.messages import is_not_learnt
from hyperfitting.data.reasons import needed_tokens, nothing_usable
from hyperfitting.data.sources import Document
from hyperfitting.data.template import ChatTemplate
from hyperfitting.errors import InputError
from hyperfitting.progress import Stage, in_number


@dataclass(frozen=True)
class EncodedDocument:
    """A document in tokens. `lead` opens every cut made from it, `close` closes the whole."""

    origin: str
    lead: list[int]
    ids: list[int]  # without the lead, and without what closes it
    trained: list[bool]  # tokens of `ids` that the loss may fall on
    close: list[int]  # the token that ends it; none where a template wrote one
    is_close_trained: bool = True
    is_chat: bool = False
    prompt_tokens: int | None = None  # conversations: where the last answer begins
    text_end: int | None = None  # conversations: where the last answer's text ends
    untestable: str | None = None  # conversations: a key of `reasons.UNTESTABLE`
    unlike_prompt: str = ""  # conversations: see `chat.Conversation`
    spells_control: bool = False  # texts: control tokens are written out in it, as characters

    def __len__(self) -> int:
        return len(self.lead) + len(self.ids)

    def closed(self) -> "EncodedDocument":
        """The document with its end."""
        return replace(
            self,
            ids=self.ids + self.close,
            trained=self.trained + [self.is_close_trained] * len(self.close),
            close=[],
        )

    def cut(self, start: int, width: int) -> tuple[list[int], list[bool]]:
        """At most `width` tokens from `start` on, the lead included, and which are trained on."""
        end = start + width - len(self.lead)
        return (
            self.lead + self.ids[start:end],
            [False] * len(self.lead) + self.trained[start:end],
        )


class Encoder:
    """Tokenises documents as one config asks for."""

    def __init__(self, borders: Borders, config: DataConfig) -> None:
        self.borders, self.config = borders, config
        self.ends = set(end_tokens(borders.tokenizer))
        self.control = control_tokens(borders.tokenizer)
        self.template: ChatTemplate | None = None

    @property
    def template_date(self) -> str | None:
        """The day that the chat template wrote into texts; None where it writes none."""
        is_dated = self.template is not None and self.template.writes_date
        return self.template.day.isoformat() if self.template and is_dated else None

    def __call__(self, document: Document) -> EncodedDocument:
        """One document in tokens.

        Raises:
            UnusableError: a text or conversation that is to be left out.
            InputError: it does not fit the template or `loss_on`.
        """
        if document.messages is not None:
            return self._chat(document)
        if self.config.loss_on == "assistant":
            raise InputError(
                f"{document.origin} is plain text, but the loss is to fall on the assistant only",
                needed="data with a `messages` column",
                hint="leave out --loss-on, or choose the column with --text-field",
            )
        if self.control.opens_or_closes(document.text):
            raise UnusableError("marked_up")
        ids = self.borders.encode(document.text)
        if not self.control.ids.isdisjoint(ids):
            raise UnusableError("control_token_in_text")
        return EncodedDocument(
            document.origin,
            self.borders.lead,
            ids,
            [True] * len(ids),
            [self.borders.end],
            spells_control=self.control.stand_in(document.text),
        )

    def _chat(self, document: Document) -> EncodedDocument:
        only_answers = self.config.loss_on == "assistant"
        chat = encode_conversation(
            self._template(document),
            document,
            self.control,
            mark_answers=only_answers,
            most_tokens=self.config.window_tokens * self.config.windows_per_document,
        )
        messages = document.messages or ()
        answers = [message for message in messages if message["role"] == "assistant"]
        untestable = None
        if answers and is_not_learnt(answers[-1]):
            untestable = "answer_not_to_learn"
        elif chat.last_answer is None:
            untestable = "answer_not_found" if answers else "no_answer"
        is_learnt = messages[-1]["role"] == "assistant" and not is_not_learnt(messages[-1])
        return EncodedDocument(
            document.origin,
            [],
            chat.ids,
            chat.by_assistant if only_answers else [True] * len(chat.ids),
            [] if self._is_closed(chat.ids) else [self.borders.end],
            is_close_trained=is_learnt or not only_answers,
            is_chat=True,
            prompt_tokens=chat.last_answer,
            text_end=chat.text_end,
            untestable=untestable,
            unlike_prompt=chat.unlike_prompt,
        )

    def _template(self, document: Document) -> ChatTemplate:
        if self.template is None:
            try:
                day = self.config.template_date or date.today()
                self.template = ChatTemplate(self.borders.tokenizer, day)
            except InputError as error:
                given = f"{document.origin} is a conversation, but {error.given}"
                raise InputError(given, needed=error.needed, hint=error.hint) from error
        return self.template

    def _is_closed(self, ids: list[int]) -> bool:
        """Whether the rendering ends with a token that ends texts, white space apart."""
        for i in reversed(ids):
            if i in self.ends:
                return True
            if str(self.borders.tokenizer.decode([i])).strip():
                return False
        return False


def _content_key(document: Document) -> str:
    """Equal for documents that differ in white space only."""
    if document.messages is not None:
        return json.dumps([document.messages, document.tools], sort_keys=True, default=str)
    return " ".join(document.text.split())


def usable_documents(
    documents: list[Document],
    encode: Encoder,
    account: dict[str, int],
    stage: Stage | None,
) -> list[EncodedDocument]:
    """Tokenised documents without the empty, the repeated and those that fill no window.

    Of documents that open with the same window one is kept: another of them held out would be a
    training text under another name. One long text becomes sections, see `_sections`.

    Raises:
        InputError: nothing is left, or data that does not fit `loss_on`.
    """
    config = encode.config
    seen: set[str] = set()
    seen_windows: set[tuple[int, ...]] = set()
    usable: list[EncodedDocument] = []
    lengths: list[int] = []
    roles: set[str] = set()
    account |= {"read": len(documents), "empty": 0, "duplicate": 0, "too_short": 0}
    account |= {"nothing_to_train_on": 0}

    def drop(reason: str) -> None:
        account[reason] = account.get(reason, 0) + 1

    for done, document in enumerate(documents):
        if stage:
            stage.update(done, f"{done} of {len(documents)} documents")
        key = _content_key(document)
        if not key or document.messages == ():
            drop("empty")
            continue
        if key in seen:
            drop("duplicate")
            continue
        seen.add(key)
        try:
            encoded = encode(document)
        except UnusableError as why:
            roles |= set(roles_of(document))
            drop(why.reason)
            continue
        lengths.append(len(encoded))
        ids, trained = encoded.cut(0, config.window_tokens)
        if len(encoded) < needed_tokens(config):
            drop("too_short")
        elif not any(trained[1:]):  # the answers stand beyond the window
            drop("nothing_to_train_on")
        elif tuple(ids) in seen_windows:
            drop("same_window")
        else:
            seen_windows.add(tuple(ids))
            usable.append(encoded)
    if stage:
        stage.update(len(documents), in_number(len(documents), "document"))
    if not usable:
        raise nothing_usable(config, account, max(lengths, default=None), roles)
    return _sections(usable, config, account)


def _sections(
    usable: list[EncodedDocument], config: DataConfig, account: dict[str, int]
) -> list[EncodedDocument]:
    """One long text becomes consecutive sections, each of one window, so it can be split."""
    only = usable[0]
    width = max(config.window_tokens, config.context_tokens + config.continuation_tokens)
    step = width - len(only.lead)
    starts = range(0, len(only.ids) - step + 1, step)
    if len(usable) > 1 or only.is_chat or len(starts) < 2:
        return usable
    account["sections_of_the_only_document"] = len(starts)
    account["tokens_of_the_only_document"] = len(only)
    return [
        replace(
            only,
            origin=f"{only.origin}, token {start}",
            ids=only.ids[start : start + step],
            trained=only.trained[start : start + step],
        )
        for start in starts
    ]
