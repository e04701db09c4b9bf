"""Virtual time: it moves only when somebody waits, and then at once to what happens next."""

from collections.abc import Callable
from datetime import UTC, datetime

START_S = datetime(2026, 1, 5, tzinfo=UTC).timestamp()  # a Monday, at midnight
Upcoming = Callable[[], float | None]


class VirtualClock:
    """A clock as `server/clock.py` describes it, for a world in which nothing sleeps.

    Args:
        start_s: seconds since 1970 at which it begins.
    """

    def __init__(self, start_s: float = START_S) -> None:
        self._start_s = self._now_s = start_s
        self._sources: list[Upcoming] = []

    def watch(self, upcoming: Upcoming) -> None:
        """Ask `upcoming` for the time at which something next happens, whenever somebody waits; None is never."""
        self._sources.append(upcoming)

    def now_s(self) -> float:
        """Virtual seconds since 1970."""
        return self._now_s

    def monotonic_s(self) -> float:
        """Virtual seconds since the start."""
        return self._now_s - self._start_s

    def sleep(self, seconds: float) -> None:
        """Wait that long, and on until something happens, if it is known that anything will."""
        events = [at_s for source in self._sources if (at_s := source()) is not None]
        self._now_s = max(self._now_s + seconds, min(events, default=0.0))
