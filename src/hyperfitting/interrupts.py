"""Ctrl-C in the command line, from its first instant to its last: one line, never a traceback.

While the program starts there is nothing to lose, and it ends at once. While a verb works, Ctrl-C
is Python's own KeyboardInterrupt; where that takes a while, because a step computes, a thread says
so, and a second Ctrl-C ends the program hard. Programs that use the library keep their own ways:
nothing here acts before `take_over`.
"""

import os
import signal
from contextlib import suppress
from types import FrameType

INTERRUPTED = 130  # exit code
WHILE_STARTING = "interrupted before anything was done"
WAITING = "Ctrl-C: this step is finished first, then we stop; Ctrl-C again stops at once"
AT_ONCE = (
    "stopped at once; what was saved before is whole (a training goes on with "
    "hyperfit train --resume --out FOLDER)"
)
PATIENCE_SECONDS = 0.5  # most work stops sooner, and then says so itself
TOGETHER_SECONDS = 0.2  # a terminal interrupts children too: what comes together is one Ctrl-C


def leave(line: str) -> None:
    """Say one line on standard error and end the program now."""
    _say(line)
    os._exit(INTERRUPTED)


def _say(line: str) -> None:
    with suppress(OSError):  # nobody listens
        os.write(2, f"\n{line}\n".encode())  # below the terminal's own ^C, past every buffer


def _leave_while_starting(number: int, frame: FrameType | None) -> None:
    leave(WHILE_STARTING)


def take_over() -> None:
    """From now on Ctrl-C ends the program at once; where it is ignored it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave_while_starting)


def begin_work() -> None:
    """From now on there is something to lose: Ctrl-C is a KeyboardInterrupt, and attended to.

    Does nothing where the command line did not take over.
    """
    if signal.getsignal(signal.SIGINT) is not _leave_while_starting:
        return
    _attend()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _attend() -> None:
    """A thread that hears Ctrl-C while torch computes, when Python runs no handler."""
    import threading

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        threading.Thread(target=_listen, args=(reading,), daemon=True).start()
    except RuntimeError:  # no memory for a thread: Ctrl-C works all the same, silently
        signal.set_wakeup_fd(-1)


def _listen(reading: int) -> None:
    """Hear the first Ctrl-C, say that it was heard where work goes on, and obey the second."""
    import time

    _is_pressed(reading, None)
    time.sleep(TOGETHER_SECONDS)
    while _is_pressed(reading, 0):
        pass
    if not _is_pressed(reading, PATIENCE_SECONDS - TOGETHER_SECONDS):
        _say(WAITING)
        _is_pressed(reading, None)
    leave(AT_ONCE)


def _is_pressed(reading: int, seconds: float | None) -> bool:
    """Wait for Ctrl-C, at most so long; other signals are passed over."""
    import select

    while select.select([reading], [], [], seconds)[0]:
        if signal.SIGINT in os.read(reading, 512):
            return True
    return False
