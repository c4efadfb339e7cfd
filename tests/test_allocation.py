"""The allocator setting: large buffers come from the heap, and the switch turns that off."""

import os
import subprocess
import sys

import pytest

CODE = """
import ctypes
from hyperfitting.allocation import keep_large_buffers
print(keep_large_buffers())
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
pointers = [library.malloc(2**24) for _ in range(4)]
heap = next(line for line in open('/proc/self/maps') if '[heap]' in line).split()[0]
low, high = (int(part, 16) for part in heap.split('-'))
print(all(low <= pointer < high for pointer in pointers))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc on Linux only")
@pytest.mark.parametrize(("switch", "expected"), [(None, "True"), ("system", "False")])
def test_large_buffers_come_from_the_heap(switch, expected):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HYPERFITTING")}
    if switch:
        environment["HYPERFITTING_MALLOC"] = switch
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == [expected, expected]


TRIMMED = """
import ctypes
from pathlib import Path
from hyperfitting.allocation import give_back_unused, keep_large_buffers
def held():
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith('RssAnon')).split()[1])
keep_large_buffers()
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
before = held()
pointers = [library.malloc(2**20) for _ in range(200)]
for pointer in pointers:
    ctypes.memset(pointer, 1, 2**20)
last = pointers.pop()  # in use, and above all that is free
for pointer in pointers:
    library.free(pointer)
kept = held()
told = give_back_unused()
print(kept - before > 190_000, told, held() - before < 10_000)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc on Linux only")
def test_free_pages_go_back_when_that_is_asked():
    """KiB that a process holds: kept when 199 MiB are free, gone after `give_back_unused`."""
    done = subprocess.run(
        [sys.executable, "-c", TRIMMED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True", "True"]
