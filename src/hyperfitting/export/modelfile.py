"""Ollama's Modelfile: greedy, with the model's ends, and its chat template where one can be told.

Ollama's templates are another language than a model's own (Jinja). What a template puts around the
parts of a conversation is found by rendering it; a template that does more than that is not
translated, and none is written.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from hyperfitting.data.borders import borders_of
from hyperfitting.data.template import ANY_DAY, ChatTemplate, Message
from hyperfitting.models.types import Tokenizer

RULE, ASKED, ANSWERED = "Probe of a rule.", "Probe of a question?", "Probe of an answer."
AGAIN = "Another question, the second?"
FOREIGN = ("{{", "}}", '"""')  # what a frame may not hold: it would be read as Ollama's language


class Frame(NamedTuple):
    """What a template puts before and after each part of a conversation."""

    lead: str  # before all, where the tokenizer puts it itself
    system: tuple[str, str] | None  # None where the template knows no such message
    user: tuple[str, str]
    answer: tuple[str, str]
    given: str  # what stands first where no system message is given

    def text(self, messages: Sequence[Message], *, is_open: bool) -> str:
        """A conversation as this frame writes it; `is_open`: the answer is to come."""
        around = {"user": self.user, "assistant": self.answer}
        if self.system is not None:
            around["system"] = self.system
        parts = [self.lead, "" if messages[0]["role"] == "system" else self.given]
        for message in messages:
            before, after = around[str(message["role"])]
            parts += [before, str(message["content"]), after]
        return "".join(parts) + (self.answer[0] if is_open else "")

    @property
    def is_writable(self) -> bool:
        """Whether Ollama's language can hold it."""
        parts = "".join((*(self.system or ()), *self.user, *self.answer, self.given))
        is_told = not self.given or self.default_rule is not None
        return is_told and not any(mark in parts for mark in FOREIGN)

    def as_go(self) -> str:
        """The frame in Ollama's language (Go templates)."""
        (user, end_user), (answer, end_answer) = self.user, self.answer
        turns = f"{user}{{{{ .Prompt }}}}{end_user}{answer}{{{{ .Response }}}}{end_answer}"
        if self.system is None:
            return turns
        rule, end_rule = self.system
        return f"{{{{ if .System }}}}{rule}{{{{ .System }}}}{end_rule}{{{{ end }}}}{turns}"

    @property
    def default_rule(self) -> str | None:
        """The system message that stands where none is given; None where something else does.

        Ollama runs a template once a turn and gives it the system message at the first only, so a
        default can stand in no `else`: it is the Modelfile's own SYSTEM.
        """
        if not self.given or self.system is None:
            return None
        before, after = self.system
        if not (self.given.startswith(before) and self.given.endswith(after)):
            return None
        return self.given.removeprefix(before).removesuffix(after)


def frame_of(tokenizer: Tokenizer) -> Frame | None:
    """The frame of a tokenizer's chat template; None where it has none, or does more than frame."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    try:
        template = ChatTemplate(tokenizer, ANY_DAY)
        # What the tokenizer puts before every text is put there by Ollama too.
        lead = "".join(tokenizer.convert_ids_to_tokens(borders_of(tokenizer).lead))
        frame = _read(template, lead)
        holds = all(
            frame.text(talk, is_open=is_open) == template.text(talk, prompt=is_open)
            for talk, is_open in _conversations()
            if frame.system is not None or talk[0]["role"] != "system"
        )
    except Exception:
        return None  # a foreign program that takes no such conversation
    return frame if holds and frame.is_writable and not template.writes_date else None


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _conversations() -> list[tuple[list[Message], bool]]:
    """Conversations that a frame has to write as its template does, and whether they are open."""
    turns = [_message("user", ASKED), _message("assistant", ANSWERED), _message("user", AGAIN)]
    rule = _message("system", RULE)
    return [
        (turns[:1], True), (turns, True), (turns[:2], False),
        ([rule, *turns[:1]], True), ([rule, *turns], True),
    ]  # fmt: skip


def _read(template: ChatTemplate, lead: str) -> Frame:
    """A frame from what is added when a message is; `frame_of` looks whether it holds."""
    ask, answer = _message("user", ASKED), _message("assistant", ANSWERED)
    asked, answered = template.text([ask]), template.text([ask, answer])
    goes_on = template.text([ask, answer, _message("user", AGAIN)]).removeprefix(answered)
    lead = lead if asked.startswith(lead) else ""
    before_user = goes_on.split(AGAIN)[0]
    return Frame(
        lead=lead,
        system=_system(template, lead, before_user),
        user=(before_user, asked.split(ASKED)[1]),
        answer=(template.text([ask], prompt=True).removeprefix(asked), answered.split(ANSWERED)[1]),
        given=asked.split(ASKED)[0].removeprefix(lead).removesuffix(before_user),
    )


def _system(template: ChatTemplate, lead: str, before_user: str) -> tuple[str, str] | None:
    """What stands around a system message; None where the template refuses one."""
    try:
        text = template.text([_message("system", RULE), _message("user", ASKED)])
    except Exception:
        return None  # a foreign program
    before, after = text.removeprefix(lead).split(ASKED)[0].split(RULE)
    return before, after.removesuffix(before_user)


def modelfile(weights: str, ends: Sequence[str], frame: Frame | None, *, is_chat: bool) -> str:
    """The text of a Modelfile: `weights` beside it, greedy decoding, and where texts end.

    A model that is no chat goes on with what it is given; of a chat whose template is not
    translated Ollama takes what it finds itself.
    """
    lines = [f"FROM {weights}", "PARAMETER temperature 0", "PARAMETER repeat_penalty 1"]
    lines += [f"PARAMETER stop {json.dumps(end, ensure_ascii=False)}" for end in ends]
    if frame is not None:
        lines.append(f'TEMPLATE """{frame.as_go()}"""')
        if frame.default_rule:
            lines.append(f'SYSTEM """{frame.default_rule}"""')
    elif not is_chat:
        lines.append('TEMPLATE """{{ .Prompt }}"""')
    return "\n".join(lines) + "\n"
