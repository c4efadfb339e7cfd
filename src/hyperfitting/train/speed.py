"""How fast steps are, for a person who watches."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Speed:
    """Tokens a second over optimiser steps alone.

    What lies between steps (monitoring, checkpoints) is left out, and so is the first step, in
    which kernels are compiled and memory is first touched.
    """

    now: Callable[[], float] = time.perf_counter
    tokens: int = 0
    seconds: float = 0.0
    since: float | None = None  # end of the last step, or of what stood between two

    def step(self, tokens: int) -> None:
        """A step of so many tokens ended now."""
        now = self.now()
        if self.since is not None:
            self.tokens += tokens
            self.seconds += now - self.since
        self.since = now

    def settle(self) -> None:
        """All that steps queued on a device is done now: its time counts, without more tokens."""
        self.step(0)

    def go_on(self) -> None:
        """What stood between two steps ended now."""
        self.since = self.now()

    @property
    def per_second(self) -> float | None:
        """Tokens a second; None before the second step."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None
