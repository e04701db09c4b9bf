"""How long a server may keep a node waiting, and what the device does meanwhile."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpcore

from client.connection.messages import OfflineError

TURN_S = 0.5
CALL_S = 30.0  # for a small call, from the first byte sent to the last one received
WINDOW_S = 30.0  # in every one of them a large answer has to come on
LEAST_BYTES_PER_S = 1_000
FAREWELL_S = 5.0  # for everything that is still said after a signal


class StoppedError(OfflineError):
    """This process was told to end while it waited for the server."""


def _nothing() -> None:
    pass


@dataclass
class Meanwhile:
    """What a node does while it waits for its server.

    Attributes:
        turn: called at least every `TURN_S`; stopped: whether the process was told to end;
        progress: called when a large answer comes on.
    """

    turn: Callable[[], None] = _nothing
    stopped: Callable[[], bool] = lambda: False
    progress: Callable[[], None] = _nothing


@dataclass
class Pace:
    """How long the call in progress may take yet."""

    meanwhile: Meanwhile
    _until: float = 0.0
    _large: bool = False
    _left: int = 0  # bytes that the window asks for yet
    _leaving: float | None = None
    _turned: float = field(default_factory=time.monotonic)

    def begin(self, large: bool) -> None:
        """A call begins; a `large` one may last as long as enough of it arrives."""
        now = time.monotonic()
        self._large, self._until, self._left = large, now + (WINDOW_S if large else CALL_S), self._enough()
        if self.meanwhile.stopped():
            self._leaving = self._leaving or now + FAREWELL_S

    @staticmethod
    def _enough() -> int:
        return int(WINDOW_S * LEAST_BYTES_PER_S)

    def received(self, count: int) -> None:
        """So many bytes have come."""
        self._left -= count

    def check(self) -> None:
        """Give the device its turn.

        Raises:
            StoppedError: the process ends.
            httpcore.ReadTimeout: the time is over.
        """
        now = time.monotonic()
        if now - self._turned >= TURN_S:
            self._turned = now
            self.meanwhile.turn()
        if self._leaving is None and self.meanwhile.stopped():
            raise StoppedError("this node is told to end")
        if self._leaving is not None and now > self._leaving:
            raise httpcore.ReadTimeout("no time is left for it")
        if now > self._until:
            if not self._large or self._left > 0:
                raise httpcore.ReadTimeout("the server takes too long")
            self._until, self._left = now + WINDOW_S, self._enough()
            self.meanwhile.progress()
