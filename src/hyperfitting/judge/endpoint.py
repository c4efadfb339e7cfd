"""Ask a judge behind an OpenAI-compatible endpoint.

The `openai` client sends, waits and tries again: exponential back-off with jitter after 429,
408, 409, 5xx, time-outs and cut connections, and the server's own Retry-After. The API key comes
from the environment, goes into the request's header, and is removed from every text that could
be stored or shown.
"""

import os
import threading
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from hyperfitting.errors import InputError
from hyperfitting.judge.config import JudgeConfig
from hyperfitting.progress import printable

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
LONGEST_REASON = 300  # characters of a server's message
ENVELOPE_TRIES = 3  # where the server, not the judge, answers nonsense
SHORTEST_SECRET = 8  # characters of a key


class Message(NamedTuple):
    """One turn of the conversation."""

    role: str  # user or assistant
    text: str


class Reply(NamedTuple):
    """One answer of the judge. Token counts are None where they are unknown."""

    text: str
    is_cut: bool  # at the longest answer
    prompt_tokens: int | None
    answer_tokens: int | None
    model: str | None


class AskError(Exception):
    """This question got no answer; others may. The message is fit to be stored."""


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


def check_endpoint(url: str | None) -> str:
    """An endpoint's base URL without anything secret in it.

    Raises:
        InputError: none, no http(s) URL, or one with a password or a query.
    """
    if not url:
        raise InputError(
            "no judge is given",
            needed="--endpoint URL of an OpenAI-compatible server, or local=true with a "
            "model's folder",
            hint="for example --endpoint http://localhost:8000/v1",
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise InputError(
            "the endpoint is no http or https URL",  # not repeated: it may hold a key
            needed="a base URL such as http://localhost:8000/v1",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            f"the endpoint at {host} has a user, a password or a query in its URL",
            needed="the bare base URL; a key belongs into an environment variable",
        )
    return url.rstrip("/")


def _read_key(variable: str, url: str) -> str | None:
    if not variable.isidentifier():
        raise InputError(  # not repeated: it may be the key itself
            "api_key_env is no name of an environment variable", needed="a name, never the key"
        )
    key = os.environ.get(variable, "").strip()
    if not key and urlsplit(url).hostname not in LOCAL_HOSTS:
        raise InputError(
            f"no API key: the environment variable {variable} is not set",
            needed=f"{variable}, or api_key_env with the name of another variable",
            hint=f"{variable}=none for a server that needs no key",
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the environment variable {variable} holds no API key: odd characters")
    return key or None


class Endpoint:
    """A judge behind a URL."""

    def __init__(self, config: JudgeConfig) -> None:
        """Check settings and key; asks nothing yet.

        Raises:
            InputError: no usable endpoint or key, or the extra is not installed.
        """
        self.url = check_endpoint(config.endpoint)
        if find_spec("openai") is None:
            raise InputError(
                "the `openai` client is not installed",
                needed="the extra: pip install 'hyperfitting[judge]'",
            )
        import openai

        self.config = config
        self.concurrency = config.concurrency
        key = _read_key(config.api_key_env, self.url)
        self._has_key = key is not None
        # A placeholder such as `none` is no secret, and may be a word of the judge's.
        self._secret = key if key and len(key) >= SHORTEST_SECRET else None
        self._errors: Any = openai
        self._client = openai.OpenAI(
            base_url=self.url,
            api_key=key or "none",
            timeout=config.timeout_seconds,
            max_retries=config.retries,
        )
        self._options: dict[str, Any] = {"model": config.model}
        if config.temperature is not None:
            self._options["temperature"] = config.temperature
        if config.max_tokens is not None:
            self._options["max_tokens"] = config.max_tokens
        self._greeting = threading.Lock()
        self._is_greeted = False

    def _clean(self, text: str) -> str:
        return text.replace(self._secret, "[key]") if self._secret else text

    def _reason(self, error: BaseException) -> str:
        message = " ".join(printable(self._clean(str(error))).split())
        return message[:LONGEST_REASON]

    def _refuse(self, error: Exception, hopeless: Collection[int]) -> None:
        """Raise what no further question can cure: a `hopeless` status, or no server at all."""
        status = getattr(error, "status_code", None)
        if status in hopeless and status == 404:
            raise InputError(
                f"{self.url} does not know this path or model (status 404): {self._reason(error)}",
                needed="a base URL that ends before /chat/completions, and a model it serves",
            ) from None
        if status in hopeless and not self._has_key:
            raise InputError(
                f"{self.url} wants a key (status {status}), and {self.config.api_key_env} is not "
                "set",
                needed=f"the key in {self.config.api_key_env}, or api_key_env with another name",
            ) from None
        if status in hopeless:
            raise InputError(
                f"the judge's server refused the key (status {status}): {self._reason(error)}",
                needed=f"a key that {self.url} accepts, in {self.config.api_key_env}",
            ) from None
        # By name: the client's HTTP library differs between its versions.
        if type(error.__cause__).__name__ == "ConnectError":
            raise InputError(
                f"no server answers at {self.url}: {self._reason(error.__cause__ or error)}",
                needed="a running OpenAI-compatible server",
            ) from None

    def _greet(self) -> None:
        """Find a wrong address or key with one cheap request instead of many slow ones."""
        with self._greeting:
            if self._is_greeted:
                return
            try:
                self._client.with_options(max_retries=0).models.list()
            except (self._errors.OpenAIError, ValueError) as error:
                # Many servers list no models, and some keys may not see them.
                self._refuse(error, hopeless=(401,))
            self._is_greeted = True

    def _complete(self, messages: Sequence[Message]) -> Any:
        turns: Any = [{"role": turn.role, "content": turn.text} for turn in messages]
        try:
            return self._client.chat.completions.create(messages=turns, **self._options)
        except self._errors.APITimeoutError:
            raise AskError(f"no answer within {self.config.timeout_seconds:g} s") from None
        except self._errors.OpenAIError as error:
            self._refuse(error, hopeless=(401, 403, 404))
            status = getattr(error, "status_code", None)
            kind = f"status {status}" if status else "no answer"
            raise AskError(f"{kind}: {self._reason(error)}") from None

    def __call__(self, messages: Sequence[Message]) -> Reply:
        """See `Judge`."""
        self._greet()
        for _ in range(ENVELOPE_TRIES):
            try:
                return self._reply(self._complete(messages))
            except (ValueError, AttributeError, IndexError, TypeError):
                continue  # no JSON, or not of the agreed form
        raise AskError("the server's answer is no chat completion")

    def _reply(self, completion: Any) -> Reply:
        choice, usage = completion.choices[0], completion.usage
        return Reply(
            text=self._clean(choice.message.content or ""),
            is_cut=choice.finish_reason == "length",
            prompt_tokens=usage.prompt_tokens if usage else None,
            answer_tokens=usage.completion_tokens if usage else None,
            model=self._clean(completion.model) if completion.model else None,
        )
