"""Ctrl-C and SIGTERM from the first import on: one line, exit code 130 or 143, no traceback."""

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
wanted, sent = sys.argv[1], int(sys.argv[2])
sys.argv[1:] = ["config", "show"]
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), sent)
sys.meta_path.insert(0, Interrupt())
from hyperfitting.entry import main
main()
"""


LATER = [
    "hyperfitting.cli",
    "typer",
    "hyperfitting.cli.demo",
    "pydantic",
    "hyperfitting.config.resolve",
]


@pytest.mark.parametrize(
    ("module", "sent"),
    [("hyperfitting.interrupts", signal.SIGINT), *((m, signal.SIGINT) for m in LATER),
     *((m, signal.SIGTERM) for m in LATER[::4])],
)  # fmt: skip
def test_a_signal_while_a_module_is_imported_is_one_line(module, sent):
    child = start(IMPORTING, module, str(int(sent)))
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 128 + sent, errors
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


@pytest.mark.parametrize(("sent", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_long_step_says_that_it_heard_and_a_second_signal_ends_it(sent, name):
    child = start(LONG_STEP)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(sent)
    assert child.stderr.readline() == "\n"
    assert f"{name} again stops at once" in child.stderr.readline()
    child.send_signal(sent)
    _, errors = child.communicate(timeout=5)
    assert child.returncode == 128 + sent
    assert errors.strip() == interrupts.AT_ONCE


WORK = """
import os, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN if sys.argv[1] == "ignored" else
              signal.default_int_handler)
from hyperfitting import interrupts
from hyperfitting.cli.common import one_message
import typer
interrupts.take_over()
interrupts.begin_work()
if sys.argv[1] == "forked" and os.fork() == 0:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
if sys.argv[1] == "forked":
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
try:
    with one_message():
        print("ready", flush=True)
        time.sleep(60)
except typer.Exit as done:
    sys.exit(done.exit_code)
"""


@pytest.mark.parametrize("how", ["attended", "ignored"])
def test_sigterm_stops_work_with_one_line_also_where_ctrl_c_is_ignored(how):
    child = start(WORK, how)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=10)
    assert child.returncode == 143
    assert errors == "interrupted; what was written so far stays as it is\n"


def test_a_child_that_a_library_forks_ends_by_sigterm_as_ever():
    child = start(WORK, "forked")
    assert child.stdout.readline() == f"{-signal.SIGTERM}\n"
    child.kill()
    child.communicate()


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
    code += "for each in (signal.SIGINT, signal.SIGTERM): signal.signal(each, signal.SIG_IGN)\n"
    code += "interrupts.take_over()\n"
    code += "for each in (signal.SIGINT, signal.SIGTERM):\n"
    code += "    assert signal.getsignal(each) is signal.SIG_IGN"
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


ENDING = """
import atexit, os, sys
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.argv[1:] = ["config", "show"]
from hyperfitting.entry import main
main()
"""


def test_ctrl_c_after_all_is_done_changes_nothing():
    child = start(ENDING)
    printed, errors = child.communicate(timeout=60)
    assert (child.returncode, errors) == (0, "")
    assert "train.epochs" in printed
