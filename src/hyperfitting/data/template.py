"""The model's own chat template: run by transformers in its sandbox, and always on one day.

Nothing here formats a prompt by hand. Templates may write today's date; rendered on two days they
give two data sets, so the day is an argument.
"""

import ast
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from functools import cached_property
from typing import Any

import jinja2

from hyperfitting.data.limits import MOST_CHARACTERS, OverLimitError, limited
from hyperfitting.errors import InputError

Message = Mapping[str, Any]
Dates = dict[str, dict[str, str]]  # each format as a date, under the name that the clock reads
_stopped: dict[str, str] = {}  # templates that were stopped, and why

# The template asks for the date by a function, and only data can be handed to it: a macro of the
# same name looks it up. It ends its own line, so that the template's white space stays as it is.
_CLOCK = (
    "{% macro strftime_now(format) %}{% if format in dates_of_the_day %}"
    "{{ dates_of_the_day[format] }}{% else %}"
    "{{ raise_exception('it puts a date format together while it runs') }}"
    "{% endif %}{% endmacro %}\n"
)
ANY_DAY = date(2024, 7, 26)  # on which a template is rendered where the day does not matter
_PROBE = "Probe of 7 words, no more"


def _dates(source: str, day: date) -> dict[str, str]:
    """What each string of the template is as a date of `day`, at midnight."""
    moment = datetime.combine(day, time.min)
    found = {}
    for _, kind, quoted in jinja2.Environment().lex(source):
        if kind == "string" and "%" in quoted:
            text = str(ast.literal_eval(quoted.replace("\n", "\\n")))
            found[text] = moment.strftime(text)
    return found


class ChatTemplate:
    """Renders conversations on the day `day`."""

    def __init__(self, tokenizer: Any, day: date) -> None:
        """Nothing is rendered yet.

        Raises:
            InputError: the tokenizer has no chat template, or several and no default.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise InputError(
                "the model has no chat template",
                needed="an instruction-tuned model, or data in plain text",
                hint="choose a text column with --text-field",
            )
        self.tokenizer, self.day = tokenizer, day
        self.writes_date = False  # whether a template that was used asks for the date
        self._of_source: dict[str, tuple[str, Dates]] = {}
        try:
            self._prepared(None)
        except (ValueError, SyntaxError, jinja2.TemplateError) as error:
            raise InputError(
                f"the chat template cannot be used: {error}",
                needed="one chat template, or one that is called `default`",
            ) from error

    def _prepared(self, tools: Sequence[Mapping[str, Any]] | None) -> tuple[str, Dates]:
        """The template's source, and the dates it may ask for."""
        source = str(self.tokenizer.get_chat_template(tools=tools))
        if source not in self._of_source:
            self._of_source[source] = (source, {})
            if "strftime_now" in source:
                dates = {"dates_of_the_day": _dates(source, self.day)}
                self._of_source[source] = (_CLOCK + source, dates)
        return self._of_source[source]

    def text(
        self,
        messages: Sequence[Message],
        *,
        prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """The conversation as text; with `prompt` it ends where the assistant is to speak.

        Raises what the template raises: it is a program of the model's author.
        """
        source, dates = self._prepared(tools)
        self.writes_date |= bool(dates)
        return self._run(
            source,
            [self._plain(message) for message in messages],
            tools=tools and [dict(tool) for tool in tools],
            add_generation_prompt=prompt,
            **dates,
        )

    def _run(self, source: str, messages: Sequence[Message], **options: Any) -> str:
        """Run the template. One that was stopped once is not run again: not in another probe.

        Raises:
            OverLimitError: it was stopped, see `limits`; and what the template raises.
        """
        if source in _stopped:
            raise OverLimitError(_stopped[source])
        try:
            with limited():
                text = str(
                    self.tokenizer.apply_chat_template(
                        list(messages), chat_template=source, tokenize=False, **options
                    )
                )
            if len(text) > MOST_CHARACTERS:
                raise OverLimitError(f"it wrote more than {MOST_CHARACTERS:,} characters")
        except OverLimitError as error:
            _stopped[source] = str(error)
            raise
        return text

    def tokens(self, text: str) -> list[int]:
        """Token ids of rendered text, its control tokens included."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _plain(self, message: Message) -> Message:
        """The message, its text parts joined where the template would print them as a list."""
        content = message.get("content")
        if isinstance(content, str) or content is None:
            return dict(message)
        if not self.takes_parts:
            return {**message, "content": joined(content)}
        parts = [{"type": "text", "text": p} if isinstance(p, str) else dict(p) for p in content]
        return {**message, "content": parts}

    @cached_property
    def takes_parts(self) -> bool:
        """Whether the template writes a list of text parts as it writes their text."""
        source, dates = self._prepared(None)
        found = []
        try:
            for content in (_PROBE, [{"type": "text", "text": _PROBE}]):
                exchange = [{"role": role, "content": content} for role in ("user", "assistant")]
                found.append(self._run(source, exchange, **dates))
        except Exception:
            # The template is a foreign program: whatever it raises, it does not take parts.
            return False
        return bool(found[0] == found[1])


def joined(content: Any) -> str:
    """The text of a message: its parts one after the other, as templates write them."""
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part if isinstance(part, str) else part["text"] for part in content)
