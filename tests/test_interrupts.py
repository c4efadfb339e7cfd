"""Ctrl-C from the first import on: one line, exit code 130, no traceback."""

import signal
import subprocess
import sys
import time

import pytest

from hyperfitting import interrupts

# A shell's background jobs, and their children, ignore Ctrl-C.
HEAR = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", HEAR + code, *arguments], stderr=subprocess.PIPE, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip


IMPORTING = """
import os, sys
wanted, sys.argv[1:] = sys.argv[1], ["config", "show"]
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from hyperfitting.entry import main
main()
"""


@pytest.mark.parametrize(
    "module",
    ["hyperfitting.interrupts", "hyperfitting.cli", "typer", "hyperfitting.cli.demo", "pydantic",
     "hyperfitting.config.resolve"],
)  # fmt: skip
def test_ctrl_c_while_a_module_is_imported_is_one_line(module):
    child = start(IMPORTING, module)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert len(errors.strip().splitlines()) == 1
    assert "interrupted" in errors


LONG_STEP = """
import sys, time
from hyperfitting import interrupts
interrupts.take_over()
interrupts.begin_work()
def go_on(*_): pass
signal.signal(signal.SIGINT, go_on)  # as the training loop, which finishes its step
print("ready", flush=True)
for _ in range(600): time.sleep(0.05)
"""


def test_a_long_step_says_that_it_heard_and_a_second_ctrl_c_ends_it():
    child = start(LONG_STEP)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    assert child.stderr.readline() == "\n"
    assert "Ctrl-C again stops at once" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=5)
    assert child.returncode == 130
    assert errors.strip() == interrupts.AT_ONCE


def test_what_comes_together_is_one_ctrl_c():
    child = start(LONG_STEP)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    time.sleep(0.02)
    child.send_signal(signal.SIGINT)  # a terminal's, that a child passed on
    assert child.stderr.readline() == "\n"
    assert "Ctrl-C again" in child.stderr.readline()
    assert child.poll() is None
    child.kill()
    child.communicate()


def test_where_ctrl_c_is_ignored_it_stays_so():
    code = "from hyperfitting import interrupts\nimport signal\n"
    code += "signal.signal(signal.SIGINT, signal.SIG_IGN); interrupts.take_over()\n"
    code += "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
    assert start(code).wait() == 0


def test_a_program_that_uses_the_library_keeps_its_own_handler():
    before = signal.getsignal(signal.SIGINT)
    interrupts.begin_work()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_entry_imports_nothing_before_ctrl_c_is_taken_over():
    code = (
        "import sys; before = set(sys.modules); import hyperfitting.entry\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["hyperfitting", "hyperfitting.entry"])
