"""What does the computing of a simulated fleet: jobs in, results out, in whatever order they end.

A job is one call of a function that the executor was made for, in a process that may die. Executors differ in where
the processes are (`workers.py`: on this machine; `ray_workers.py`: on a Ray cluster), never in a result.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Shared = Mapping[str, memoryview]
Function = Callable[[Any, Shared], Any]


@dataclass(frozen=True)
class Job:
    """One call.

    Attributes:
        number: that its result carries; no two jobs of an executor have the same.
        argument: what the function gets; it and what the function returns can be pickled.
        shared: keys of published data that the function sees beside it.
    """

    number: int
    argument: Any
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Attributes:
        value: what the function returned.
        error: the class of the exception that it raised, by name; empty where there was none.
        died: how the process ended that worked on it, alone, as "exit code 9"; empty where it did not.
    """

    number: int
    value: Any = None
    error: str = ""
    died: str = ""


class Executor(Protocol):
    """Use it as a context manager."""

    def __enter__(self) -> "Executor": ...

    def __exit__(self, *_: object) -> None:
        """End all processes, and free what was published."""

    def publish(self, key: str, data: bytes | memoryview) -> None:
        """Hold `data` once for all jobs that name `key`; nothing where the key is held already."""

    def withdraw(self, key: str) -> None:
        """Free what is held under `key`, once no job that is not done names it."""

    def submit(self, jobs: Iterable[Job]) -> None:
        """Take jobs; they begin in their order."""

    def done(self) -> list[Done]:
        """The jobs that have ended since the last call, at least one; none only where nothing is outstanding.

        Raises:
            FleetError: no process can be started any more.
        """

    @property
    def outstanding(self) -> int:
        """Jobs that have not come back."""
