"""Keep glibc from handing large buffers back to the kernel at every training step.

By default glibc maps each large buffer anew and unmaps it when it is freed. A training step frees
and asks for the same buffers hundreds of times, and the kernel clears every page each time. Set
before the first tensor exists, for this process only, on Linux with glibc only. The price: memory
that was once used stays with the process until `give_back_unused`, which is called where a phase
ends whose buffers the next one has no use for. `HYPERFITTING_MALLOC=system` turns it off.
"""

import ctypes
import os
import sys

SWITCH = "HYPERFITTING_MALLOC"
# Numbers of <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
SETTINGS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 256 * 2**20}


def keep_large_buffers() -> bool:
    """Set the allocator once per process; says whether it was set."""
    if not sys.platform.startswith("linux") or os.environ.get(SWITCH) == "system":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # another C library, such as musl
        return False
    return all(library.mallopt(option, value) for option, value in SETTINGS.items())


def give_back_unused() -> bool:
    """Hand free pages back to the kernel now; says whether this C library can and there were any.

    For the end of a phase (a tokenizer was read, a model was measured), not for every step.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    return trim is not None and bool(trim(0))
