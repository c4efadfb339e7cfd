"""The first and the last instant of the command `hyperfit`.

Nothing is imported at the top: Ctrl-C, a full disk and too little memory are told in one line from
the first import on.
"""


def main() -> None:
    """Run the command line; whatever the machine does ends in one message."""
    try:
        from hyperfitting.interrupts import take_over

        take_over()
        _give_streams()
        from hyperfitting.cli.main import main as command

        command()
    except KeyboardInterrupt:  # before Ctrl-C was taken over, or after the last verb
        import os  # which Python itself has loaded
        import sys

        os.write(2, b"\ninterrupted\n")
        code = getattr(sys.modules.get("hyperfitting.interrupts"), "exit_code", lambda: 130)
        os._exit(code())
    except Exception as error:
        from hyperfitting.faults import message_of

        told = message_of(error)
        if told is None:
            raise
        _tell(str(told))
        raise SystemExit(told.exit_code) from None
    finally:
        _close_output()
        _end_work()


def _give_streams() -> None:
    """A closed standard output or error is an open one that goes nowhere."""
    import os
    import sys

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _tell(message: str) -> None:
    import sys

    from hyperfitting.untrusted import printable

    sys.stderr.write("error: " + printable(message).replace("\n", "\n  ") + "\n")


def _end_work() -> None:
    import sys

    interrupts = sys.modules.get("hyperfitting.interrupts")
    if interrupts is not None:
        interrupts.end_work()


def _close_output() -> None:
    """Write what is still held back; Python's own last attempt would end in a traceback."""
    import os
    import sys

    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        from hyperfitting.faults import message_of

        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        told = message_of(error)
        if told is not None:
            _tell(str(told))
            raise SystemExit(told.exit_code) from None
