"""Ctrl-C and SIGTERM in the command line, from first instant to last: one line, no traceback.

While the program starts there is nothing to lose, and it ends at once. While a verb works, Ctrl-C
is Python's own KeyboardInterrupt; where that takes a while, because a step computes, a thread says
so, and a second Ctrl-C ends the program hard. SIGTERM, which schedulers send, does what Ctrl-C
would do at that moment, and has its own exit code. Programs that use the library keep their own
ways: nothing here acts before `take_over`.
"""

import os
import signal
from contextlib import suppress
from types import FrameType

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
WHILE_STARTING = "interrupted before anything was done"
WAITING = "{0}: this step is finished first, then we stop; {0} again stops at once"
AT_ONCE = (
    "stopped at once; what was saved before is whole (a training goes on with "
    "hyperfit train --resume --out FOLDER)"
)
PATIENCE_SECONDS = 0.5  # most work stops sooner, and then says so itself
# Names the pipe whose end tells a step of a study that the study was stopped or killed.
LIFELINE = "HYPERFITTING_LIFELINE"
TOGETHER_SECONDS = 0.2  # a terminal interrupts children too: what comes together is one Ctrl-C


class _State:
    """What was heard last, and how far the program is."""

    heard: int = signal.SIGINT
    is_working = False
    owner: int | None = None  # the process that took over; its children did not


def exit_code() -> int:
    """How the program ends that was stopped: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + _State.heard


def leave(line: str) -> None:
    """Say one line on standard error and end the program now."""
    _say(line)
    os._exit(exit_code())


def _say(line: str) -> None:
    with suppress(OSError):  # nobody listens
        os.write(2, f"\n{line}\n".encode())  # below the terminal's own ^C, past every buffer


def _leave_while_starting(number: int, frame: FrameType | None) -> None:
    leave(WHILE_STARTING)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do now; where that is ignored, as in a shell's background, stop too."""
    if os.getpid() != _State.owner:  # a child that a library forked is to end, and no more
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _State.heard = number
    attended = signal.getsignal(signal.SIGINT)
    if callable(attended):
        attended(signal.SIGINT, frame)
    elif _State.is_working:
        raise KeyboardInterrupt
    else:
        leave(WHILE_STARTING)


def take_over() -> None:
    """From now on either signal ends the program at once; one that is ignored stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave_while_starting)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
        _State.owner = os.getpid()
    lifeline = os.environ.pop(LIFELINE, None)
    if lifeline is not None:
        _follow(int(lifeline))


def _follow(reading: int) -> None:
    """Do what SIGTERM would do when whoever started this program is gone, however it went."""
    import threading

    def wait() -> None:
        os.read(reading, 1)  # nothing is ever written: it returns when the other end is closed
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def begin_work() -> None:
    """From now on there is something to lose: Ctrl-C is a KeyboardInterrupt, and attended to.

    Does nothing where the command line did not take over.
    """
    is_ours = signal.getsignal(signal.SIGINT) is _leave_while_starting
    if _State.is_working or not (is_ours or signal.getsignal(signal.SIGTERM) is _terminate):
        return
    _attend()
    _State.is_working = True
    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_work() -> None:
    """From now on all is done: Ctrl-C while Python takes itself down changes nothing.

    Python would give the signal back to the system, and a program whose work is finished would die
    of it. Does nothing where the command line did not take over.
    """
    if _State.owner == os.getpid():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _attend() -> None:
    """A thread that hears the signals while torch computes, when Python runs no handler."""
    import threading

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        threading.Thread(target=_listen, args=(reading,), daemon=True).start()
    except RuntimeError:  # no memory for a thread: Ctrl-C works all the same, silently
        signal.set_wakeup_fd(-1)


def _listen(reading: int) -> None:
    """Hear the first signal, say that it was heard where work goes on, and obey the second."""
    import time

    _hears(reading, None)
    time.sleep(TOGETHER_SECONDS)
    while _hears(reading, 0):
        pass
    if not _hears(reading, PATIENCE_SECONDS - TOGETHER_SECONDS):
        _say(WAITING.format(NAMES[signal.Signals(_State.heard)]))
        _hears(reading, None)
    leave(AT_ONCE)


def _hears(reading: int, seconds: float | None) -> bool:
    """Wait for Ctrl-C or SIGTERM, at most so long; other signals are passed over."""
    import select

    while select.select([reading], [], [], seconds)[0]:
        found = [number for number in os.read(reading, 512) if number in NAMES]
        if found:
            _State.heard = found[-1]
            return True
    return False
