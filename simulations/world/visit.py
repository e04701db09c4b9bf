"""What became of one message to a node in the simulated world, in virtual time."""

from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """How a visit ends, decided before anything is computed."""

    ANSWERS = "answers"
    DROPS_OUT = "drop-out"  # it begins and never answers
    CRASHES = "crash"  # its runtime fails on the way, and says so


@dataclass(frozen=True)
class Work:
    """What one device of a node computed, on hardware of its own speed and power."""

    device: int
    time_s: float
    energy_j: float


@dataclass(frozen=True)
class Visit:
    """One message to a node, and its way back. Times are virtual seconds since 1970.

    Attributes:
        node: its partition id, from 0.
        number: of this node's messages of that kind, from 1; a round's, where every round sends one.
        started_s: when the node began to fetch it; None where it was never there in time.
        arrived_s: when the answer was back; None where it never was.
        down_bytes, up_bytes: over the air, what was lost and sent again included.
        works: one for each device that computed.
        cause: why there is no answer, or none that counts; empty where there is one. Never text of an exception.
    """

    node: int
    kind: str
    number: int
    sent_s: float
    started_s: float | None = None
    arrived_s: float | None = None
    down_bytes: int = 0
    up_bytes: int = 0
    works: tuple[Work, ...] = ()
    cause: str = ""
