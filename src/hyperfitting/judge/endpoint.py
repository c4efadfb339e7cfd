"""Ask a judge behind an OpenAI-compatible endpoint.

The `openai` client sends, waits and tries again: exponential back-off with jitter after 429,
408, 409, 5xx, time-outs and cut connections, and the server's own Retry-After. An error that a
proxy delivers as a success is treated like its status. The API key comes from the environment,
goes into the request's header, and is removed from every text that could be stored or shown.
"""

import os
import random
import threading
import time
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from hyperfitting.config.judge import JudgeConfig
from hyperfitting.errors import InputError
from hyperfitting.judge.counts import counted
from hyperfitting.judge.refused import leaves_no_room, refused_option, words_of
from hyperfitting.judge.reply import AskError, Message, Reply, text_of, why_cut, why_unread
from hyperfitting.judge.secrets import SHORTEST_KEY, Secrets, is_secret, without_path
from hyperfitting.judge.served import served_error, words_in
from hyperfitting.judge.transport import PLAIN, bounded_client
from hyperfitting.untrusted import printable

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
LONGEST_REASON = 300  # characters of a server's message
ENVELOPE_TRIES = 3  # where the server, not the judge, answers nonsense
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0  # seconds, after an error that may pass


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
    if is_secret(key) and len(key) < SHORTEST_KEY:
        raise InputError(
            f"the key in {variable} has fewer than {SHORTEST_KEY} characters: it could not be kept "
            "out of what is stored",
            needed=f"a longer key, or {variable}=none for a server that needs none",
        )
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
        self._clean = Secrets(key, self.url).hide
        self._errors: Any = openai
        self._client = openai.OpenAI(
            base_url=self.url,
            api_key=key or "none",
            timeout=config.timeout_seconds,
            max_retries=config.retries,
            default_headers=PLAIN,
            http_client=bounded_client(config.timeout_seconds),
        )
        self._options: dict[str, Any] = {"model": config.model}
        if config.temperature is not None:
            self._options["temperature"] = config.temperature
        if config.max_tokens is not None:
            self._options["max_tokens"] = config.max_tokens
        self._greeting = threading.Lock()
        self._is_greeted = False
        self._is_known = False  # the key: something was answered to it

    def _reason(self, error: BaseException) -> str:
        return self._shortened(words_of(error))

    def _shortened(self, words: str) -> str:
        return " ".join(printable(self._clean(words)).split())[:LONGEST_REASON]

    def _refuse(self, error: Exception, hopeless: Collection[int]) -> None:
        """Raise what no further question can cure: a `hopeless` status, or no server at all."""
        status = getattr(error, "status_code", None)
        if status is not None and 300 <= status < 400 and 404 in hopeless:
            place = getattr(error, "response", None)
            told = place.headers.get("location", "nowhere") if place is not None else "nowhere"
            raise InputError(
                f"{without_path(self.url)} sends us on to {self._shortened(told)} (status "
                f"{status}), and texts and key go to no server but the one you named",
                needed="the URL at which the judge itself answers",
            ) from None
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
                self._is_known = True
            except (self._errors.OpenAIError, ValueError, RecursionError) as error:
                # Many servers list no models, and some keys may not see them.
                self._refuse(error, hopeless=(401,))
            self._is_greeted = True

    def _complete(self, messages: Sequence[Message]) -> Any:
        turns: Any = [{"role": turn.role, "content": turn.text} for turn in messages]
        for attempt in range(self.config.retries + 1):
            try:
                completion = self._client.chat.completions.create(messages=turns, **self._options)
            except self._errors.APITimeoutError:
                raise AskError(f"no answer within {self.config.timeout_seconds:g} s") from None
            except self._errors.OpenAIError as error:
                raise self._failure(error) from None
            served = served_error(completion)
            if served is None:
                self._is_known = True
                return completion
            if not served.may_pass or attempt == self.config.retries:
                raise self._failure(served)
            # The client waits after a status of its own only. As it does: doubled, with jitter.
            time.sleep(min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.75, 1))
        raise AssertionError("the last attempt returns or raises")

    def _failure(self, error: Exception) -> AskError:
        """Why a question got no answer.

        Raises:
            InputError: no question can be answered.
        """
        status = getattr(error, "status_code", None)
        # To a key that it knows, a server that looks at texts says so of this one.
        is_refused = status == 403 and self._is_known
        self._refuse(error, hopeless=(401, 404) if is_refused else (401, 403, 404))
        if status in (400, 422):
            self._refuse_option(error)
        kind = f"status {status}" if status else "no answer"
        return AskError(f"{kind}: {self._reason(error)}", is_refused=is_refused)

    def _refuse_option(self, error: Exception) -> None:
        """Raise with its cure what the server has against our `max_tokens` or `temperature`.

        Raises:
            InputError: it takes no such setting, so that no question can be answered.
            AskError: this prompt leaves no room for the answer; others may.
        """
        message, param = words_of(error), getattr(error, "param", None)
        if leaves_no_room(message, param):
            longest = self.config.max_tokens
            room = "no room for this prompt"
            if longest is not None:
                room = f"no room for an answer of {longest} tokens (a smaller max_tokens, or "
                room += "max_tokens=null, may cure it)"
            raise AskError(f"{room}: {self._reason(error)}", is_refused=True) from None
        name = refused_option(message, param)
        if name is None:
            return
        value = getattr(self.config, name)
        cure = f"{name}=null: it is then not sent"
        raise InputError(
            f"the judge's server refuses {name}={'null' if value is None else value}: "
            f"{self._reason(error)}",
            needed=cure if value is not None else f"a value of {name} that it accepts",
            hint="a model that refuses one of the two often refuses both: "
            "max_tokens=null temperature=null"
            if value is not None
            else None,
        ) from None

    def __call__(self, messages: Sequence[Message]) -> Reply:
        """See `Judge`."""
        self._greet()
        told = ""
        for _ in range(ENVELOPE_TRIES):
            try:
                completion = self._complete(messages)
                told = self._shortened(words_in(completion))
                return self._reply(completion, messages)
            except (ValueError, AttributeError, IndexError, TypeError, RecursionError):
                continue  # no JSON, not of the agreed form, or nested without end
        raise AskError(f"the server's answer is no chat completion{told and f': {told}'}")

    def _named(self, model: object) -> str | None:
        """The model's own name, without what files and terminals cannot hold."""
        return self._shortened(model) or None if isinstance(model, str) else None

    def _reply(self, completion: Any, messages: Sequence[Message]) -> Reply:
        choice, usage = completion.choices[0], completion.usage
        prompt_tokens = counted(getattr(usage, "prompt_tokens", None))
        text, has_reasoning = text_of(choice.message)
        return Reply(
            text=self._clean(text),
            cut=why_cut(choice.finish_reason, self.config.max_tokens),
            prompt_tokens=prompt_tokens,
            answer_tokens=counted(getattr(usage, "completion_tokens", None)),
            model=self._named(completion.model),
            has_reasoning=has_reasoning,
            unread=why_unread(messages, prompt_tokens),
        )
