"""Peak memory of a stretch of a program, for the benchmarks."""

import resource
import sys
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def status_mb(field: str) -> float:
    """A line of /proc/self/status, given there in KiB."""
    lines = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:")]
    return int(lines[0].split()[1]) * 1024 / 1e6


def children_peak_mb() -> float:
    """Most memory that a process which this one started and waited for ever held."""
    return _maximum_mb(resource.RUSAGE_CHILDREN)


def process_peak_mb() -> float:
    """Most memory that this process ever held."""
    return _maximum_mb(resource.RUSAGE_SELF)


def _maximum_mb(of: int) -> float:
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024
    return resource.getrusage(of).ru_maxrss / unit


class PeakMemory:
    """Most memory held since it was made, beyond what was held then."""

    def __init__(self, device: str) -> None:
        self.method = "max_memory_allocated" if device == "cuda" else "VmHWM"
        try:
            self._begin_anew()
        except OSError:  # no such file, or no right to it
            self.method = "ru_maxrss"
        self.before = self._highest()

    def mb(self) -> float:
        """The difference."""
        return self._highest() - self.before

    def _begin_anew(self) -> None:
        if self.method == "VmHWM":
            RESET.write_text("5")
        else:
            import torch

            torch.cuda.reset_peak_memory_stats()

    def _highest(self) -> float:
        if self.method == "max_memory_allocated":
            import torch

            return torch.cuda.max_memory_allocated() / 1e6
        if self.method == "VmHWM":
            return status_mb("VmHWM")
        return process_peak_mb()
