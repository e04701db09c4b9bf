"""What `dispatch.py` asks of worker processes, wherever they are, and what it hears of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from simulations.executors.calls import Answer, Call


@dataclass(frozen=True)
class Ready:
    """A worker has started."""

    worker: int


@dataclass(frozen=True)
class Answers:
    """A worker has done some of its jobs, in that many seconds."""

    worker: int
    answers: Sequence[Answer]
    seconds: float


@dataclass(frozen=True)
class Ended:
    """A worker is dead; `how` its process ended, as "exit code 9"."""

    worker: int
    how: str


Event = Ready | Answers | Ended


class Pool(Protocol):
    """The processes of an executor. What it is told of a dead worker it may ignore until it has said `Ended`."""

    def start(self) -> int:
        """Begin to start a worker; its number is new."""

    def give(self, worker: int, calls: Sequence[Call]) -> None:
        """Let a worker do these, in their order, after what it was given before."""

    def events(self) -> list[Event]:
        """What has happened, at least one thing; each worker's in its order."""

    def publish(self, key: str, data: bytes | memoryview) -> None:
        """As `Executor.publish`."""

    def withdraw(self, key: str) -> None:
        """As `Executor.withdraw`."""

    def close(self) -> None:
        """End all workers, and free what was published."""

    def hint(self, worker: int) -> str:
        """Where somebody finds out why a worker did not start."""
