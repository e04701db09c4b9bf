"""When a supervised child is started again, and whether it should be: two small things without clocks of their own."""

import hashlib
import random
from dataclasses import dataclass, field

from client.supervision.beats import CONTACT, WORKING

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
SETTLED_S = 60.0  # a child that has lived for so long did not end at once
AT_ONCE = 5  # deaths at once before the log says that something is wrong for good
STILL_S = 90.0
OFFLINE_S, LONGEST_OFFLINE_S = 90.0, 3_600.0


@dataclass
class Patience:
    """How long to wait before the next start, for a device of that name.

    Attributes:
        deaths: at once, one after the other.
    """

    name: str
    deaths: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        seed = hashlib.sha256(self.name.encode()).digest()
        self._random = random.Random(int.from_bytes(seed[:8], "big"))

    def wait_s(self, lived_s: float) -> float:
        """Seconds until the next start, after a child that lived for so long."""
        self.deaths = 0 if lived_s >= SETTLED_S else self.deaths + 1
        if self.deaths >= AT_ONCE:
            return LONGEST_WAIT_S * self._random.uniform(1.0, 1.25)
        wait = min(FIRST_WAIT_S * 2.0 ** max(self.deaths - 1, 0), LONGEST_WAIT_S)
        return wait * self._random.uniform(0.75, 1.25)


@dataclass
class Watch:
    """What a child's signs of life say about it.

    Attributes:
        offline_s: how long it may be without contact, where it has nothing to do; twice as long after each time.
    """

    offline_s: float = OFFLINE_S
    still_s: float = STILL_S
    alive: float = 0.0
    contact: float = 0.0
    working: bool = False

    def started(self, now: float) -> None:
        """A child has been started."""
        self.alive = self.contact = now
        self.working = False

    def heard(self, beats: bytes, now: float) -> None:
        """It has said something."""
        self.alive = now
        if CONTACT in beats:
            self.contact, self.offline_s = now, min(self.offline_s, OFFLINE_S)
        if states := beats.replace(CONTACT, b""):
            self.working = states.endswith(WORKING)

    def complaint(self, now: float) -> str:
        """Why the child has to be started again; empty where it has not."""
        if now - self.alive > self.still_s:
            return f"it has not moved for {now - self.alive:.0f} s"
        if not self.working and now - self.contact > self.offline_s:
            silent = now - self.contact
            self.offline_s = min(2 * self.offline_s, LONGEST_OFFLINE_S)
            return f"it has not reached the server for {silent:.0f} s"
        return ""
