"""One HTTP request to a judge's server, bounded: in time as a whole, in size, and to that server.

A server may be slow on purpose. The client's own time limit is one for each read, so that a byte
every second keeps it waiting for ever, and it reads an answer of any size, packed or not.
"""

import importlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

LARGEST_ANSWER = 4 * 2**20  # bytes of a whole HTTP answer; a verdict has some hundreds
PLAIN = {"Accept-Encoding": "identity"}  # a packed answer may be a thousand times as long


def bounded_client(seconds: float) -> Any:
    """An HTTP client for `openai.OpenAI` that follows no redirect.

    A request that takes longer than `seconds`, from its start to the last byte, ends as one whose
    server is silent. An answer that is too large or packed raises an `openai.OpenAIError`.
    """
    import openai

    base: Any = openai.DefaultHttpxClient
    # The client's HTTP library differs between its versions.
    library: Any = importlib.import_module(base.__mro__[1].__module__.partition(".")[0])

    class Bounded(base):  # type: ignore[misc]
        """Reads every answer whole, within the limits."""

        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            late = library.ReadTimeout("no whole answer in time", request=request)
            deadline = time.monotonic() + seconds

            def whole() -> Any:
                answer = super(Bounded, self).send(request, stream=True, **options)
                try:
                    body = _read(answer, deadline, late, openai.OpenAIError)
                finally:
                    answer.close()
                return type(answer)(
                    answer.status_code, headers=answer.headers, content=body, request=request
                )

            return _within(seconds, whole, late)

    return Bounded(follow_redirects=False, timeout=seconds)


def _read(
    answer: Any, deadline: float, late: Exception, refused: Callable[[str], Exception]
) -> bytes:
    """The body of an answer as it is sent."""
    if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise refused("the server packs its answers, and was asked for plain ones")
    chunks, size = [], 0
    for chunk in answer.iter_raw():
        size += len(chunk)
        if size > LARGEST_ANSWER:
            raise refused(f"the server's answer is larger than {LARGEST_ANSWER:,} bytes")
        if time.monotonic() > deadline:
            raise late
        chunks.append(chunk)
    return b"".join(chunks)


def _within(seconds: float, work: Callable[[], Any], late: Exception) -> Any:
    """What `work` returns or raises; `late` where that takes too long.

    A thread that is late is left alone: it ends at its next chunk, or with the process.
    """
    done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # whoever waits raises it
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        found, error = done.get(timeout=min(seconds, threading.TIMEOUT_MAX))
    except queue.Empty:
        raise late from None
    if error is not None:
        raise error
    return found
