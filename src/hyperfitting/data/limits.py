"""A limit to what a model's chat template may take: it is a program of somebody else.

transformers runs it in jinja2's sandbox, which keeps it from files and from code, but not from
loops in loops or from a text that doubles itself. So a rendering is stopped after some seconds,
by the system's timer, which reaches whatever Python runs; and while it runs, the process cannot
grow by more than some memory. Both are the system's own means and know nothing of templates.

The timer exists on Unix, in the main thread; elsewhere there is no limit.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS, BYTES = 10.0, 2 * 2**30  # a conversation takes milliseconds and kilobytes
MOST_CHARACTERS = 50_000_000  # of a rendered conversation


class OverLimitError(Exception):
    """A rendering that took longer, or became larger, than any conversation needs."""


@contextmanager
def limited(seconds: float = SECONDS, more: int = BYTES) -> Iterator[None]:
    """Stop what runs in the block after so many seconds, or before it takes so many bytes more.

    Raises:
        OverLimitError: it was stopped.
    """
    with _timer(seconds), _memory(more):
        try:
            yield
        except MemoryError:
            raise OverLimitError(f"it took more than {more / 2**30:g} GiB") from None


@contextmanager
def _timer(seconds: float) -> Iterator[None]:
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not hasattr(signal, "setitimer"):
        with nullcontext():
            yield
        return

    def stop(_: int, __: FrameType | None) -> None:
        raise OverLimitError(f"it took longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        # Whoever had set the timer gets it back, a little late.
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _memory(more: int) -> Iterator[None]:
    limits = _address_space()
    if limits is None:
        yield
        return
    resource, used = limits
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + more
    if soft != resource.RLIM_INFINITY and soft < wanted:
        yield  # it is limited already
        return
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> tuple[Any, int] | None:
    """The module that limits it, and its bytes now; None where the system does not tell."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return resource, pages * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        return None
