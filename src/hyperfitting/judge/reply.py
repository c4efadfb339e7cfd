"""What travels between a judge and whoever asks it, and whether an answer is whole."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from hyperfitting.untrusted import printable

WHOLE = ("stop", "eos", "eos_token", "end_turn")  # finish_reason of an answer that is whole
AT_LIMIT = ("length", "max_tokens", "model_length")
LEAST_TOKENS = 0.8  # per word: tokenizers seldom join words, and a template adds tokens
LONGEST_TOLD = 40  # characters of a server's own finish_reason


class Message(NamedTuple):
    """One turn of the conversation."""

    role: str  # user or assistant
    text: str


class Reply(NamedTuple):
    """One answer of the judge. Token counts are None where they are unknown."""

    text: str
    cut: str | None  # why this is not the whole answer; None where the judge ended it itself
    prompt_tokens: int | None
    answer_tokens: int | None
    model: str | None
    has_reasoning: bool = False  # which the server delivered apart from the text
    unread: str | None = None  # why the judge cannot have read the whole prompt


class AskError(Exception):
    """This question got no answer; others may. The message is fit to be stored.

    `is_refused`: it is this question that is refused, such as a text that is too long, so that
    nothing is said of the server.
    """

    def __init__(self, message: str, *, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_refused = is_refused


class Judge(Protocol):
    """Answers one conversation; called from several threads where it allows that."""

    concurrency: int

    def __call__(self, messages: Sequence[Message]) -> Reply:
        """The judge's next turn.

        Raises:
            AskError: no answer to this one.
            InputError: no question can be answered: wrong key, no such model, no server.
        """
        ...


def longest_answer(max_tokens: int | None) -> str:
    """Why an answer is not whole that came to its longest length."""
    if max_tokens is None:
        return "cut at the longest answer that the judge allows by itself: set max_tokens"
    return f"cut at the longest answer: max_tokens={max_tokens} is too small"


def why_unread(messages: Sequence[Message], counted: int | None) -> str | None:
    """Why a server that counted so many prompt tokens has not read all; None where it may have.

    Servers of a small context drop the begin of a longer prompt and answer all the same. A count
    of 0 is none.
    """
    words = sum(len(turn.text.split()) for turn in messages)
    if not counted or counted >= LEAST_TOKENS * words:
        return None
    return (
        f"the server counted {counted} tokens in a prompt of {words} words: it cut the prompt "
        "(give it a longer context; of Ollama num_ctx), or does not count what it had cached"
    )


def why_cut(finish_reason: object, max_tokens: int | None) -> str | None:
    """Why an answer that ended like this is not whole; None where the judge ended it itself."""
    if finish_reason in WHOLE:
        return None
    if finish_reason in AT_LIMIT:
        return longest_answer(max_tokens)
    if finish_reason == "content_filter":
        return "stopped by the server's content filter"
    told = printable(str(finish_reason))[:LONGEST_TOLD] if finish_reason else "nothing"
    return f"the server gives {told} as finish_reason: whether the answer is whole is unknown"


def text_of(message: Any) -> tuple[str, bool]:
    """The text of a server's message, and whether reasoning came apart from it.

    Most servers name that field `reasoning_content` or `reasoning`; Mistral's content is a list
    of parts, of which those of the type `text` are the answer.
    """
    apart = any(
        getattr(message, name, None) for name in ("reasoning_content", "reasoning", "thinking")
    )
    content = message.content or ""
    if isinstance(content, str):
        return content, apart
    texts = [part["text"] for part in content if part.get("type") == "text"]
    return "".join(texts), apart or len(texts) < len(content)
