"""What happens next in a simulated fleet: an event queue, whose order is that of virtual time and then of asking."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

Happens = Callable[[float], None]  # gets the time at which it happens


class Events:
    """Things that happen at nodes. Times are seconds since 1970.

    Args:
        now_s: when it begins.
    """

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self._queue: list[tuple[float, int, Happens]] = []
        self._sequence = count()

    def __len__(self) -> int:
        return len(self._queue)

    def later(self, at_s: float, happens: Happens) -> None:
        """Let something happen at a time that is not past."""
        heappush(self._queue, (at_s, next(self._sequence), happens))

    def run(self, until_s: float, enough: Callable[[float], bool] = lambda at_s: False) -> None:
        """Let everything happen that happens by then.

        Args:
            enough: asked, with the time of what would be next, whether to stop before it.
        """
        while self._queue and self._queue[0][0] <= until_s and not enough(self._queue[0][0]):
            self.now_s, _, happens = heappop(self._queue)
            happens(self.now_s)

    def passed(self, now_s: float) -> None:
        """It is that late now, if it was not later already."""
        self.now_s = max(self.now_s, now_s)
