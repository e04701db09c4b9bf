"""The clock of everything that waits on the server's side, so that a simulation can have a time of its own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now_s(self) -> float:
        """Seconds since 1970, UTC; it may be set."""

    def monotonic_s(self) -> float:
        """Seconds since some time; it never jumps."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """This machine's."""

    def now_s(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds since the machine was started."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
