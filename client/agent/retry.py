"""How a device goes on while its disk fails: ever more seldom, and without filling what is left with its log."""

from dataclasses import dataclass, field

LONGEST_S = 60.0
LOG_EVERY_S = 60.0


@dataclass
class Retry:
    """When to try again, by a clock that may be set."""

    _failures: int = 0
    _wait_s: float = field(default=0.0)
    _failed_s: float = field(default=0.0)
    _logged_s: float | None = None

    def due(self, now_s: float) -> bool:
        """Whether it is time to try."""
        return not 0 <= now_s - self._failed_s < self._wait_s

    def worked(self) -> None:
        """It has worked."""
        self._failures, self._wait_s = 0, 0.0

    def failed(self, now_s: float) -> bool:
        """It has failed; whether that is to be logged."""
        self._wait_s, self._failed_s = min(2.0**self._failures, LONGEST_S), now_s
        self._failures = min(self._failures + 1, 10)
        if self._logged_s is not None and 0 <= now_s - self._logged_s < LOG_EVERY_S:
            return False
        self._logged_s = now_s
        return True
