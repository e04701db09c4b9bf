"""Functions that the tests let workers call, and an executor without any process."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simulations.executors.calls import Call, Calls
from simulations.executors.executor import Done, Executor, Job, Shared

FUNCTIONS = __name__


class Inline:
    """An executor in this process, whose jobs end in another order than they came in.

    Attributes:
        computed: the jobs so far. published: what was, and how often.
    """

    def __init__(self, function: str) -> None:
        self._calls = Calls(function)
        self._waiting: list[Job] = []
        self._held: dict[str, bytes] = {}
        self.computed: list[Job] = []
        self.published: list[str] = []

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.clear()

    def publish(self, key: str, data: bytes | memoryview) -> None:
        if key not in self._held:
            self._held[key] = bytes(data)
            self.published.append(key)

    def withdraw(self, key: str) -> None:
        self._held.pop(key, None)

    @property
    def held(self) -> set[str]:
        return set(self._held)

    def submit(self, jobs: Iterable[Job]) -> None:
        self._waiting += jobs

    def done(self) -> list[Done]:
        if not self._waiting:
            return []
        job = self._waiting.pop(len(self._waiting) // 2)
        self.computed.append(job)
        views = {key: memoryview(data) for key, data in self._held.items()}
        answer = self._calls.answer(Call(job.number, job.argument, job.shared), views)
        return [Done(*answer)]

    @property
    def outstanding(self) -> int:
        return len(self._waiting)


def run(executor: Executor, arguments: Iterable[Any], shared: tuple[str, ...] = ()) -> dict[int, Done]:
    """What becomes of jobs, by number; each comes back once."""
    executor.submit(Job(number, argument, shared) for number, argument in enumerate(arguments))
    found: dict[int, Done] = {}
    while executor.outstanding:
        ended = executor.done()
        assert ended
        assert not found.keys() & {done.number for done in ended}
        found |= {done.number: done for done in ended}
    return found


def double(argument: int, shared: Shared) -> int:
    return 2 * argument


def divide(argument: int, shared: Shared) -> float:
    return 1 / argument


def total(argument: int, shared: Shared) -> int:
    return argument + sum(sum(view) for view in shared.values())


def unpicklable(argument: int, shared: Shared) -> Any:
    return (lambda: 0) if argument % 5 == 4 else argument


def exits(argument: int, shared: Shared) -> int:
    """End the process where the argument is one in 20."""
    if argument % 20 == 19:
        os._exit(3)
    return argument


def killed_once(argument: str, shared: Shared) -> str:
    """Say who works on it and wait for the end, the first time; come back at once, the second."""
    file = Path(argument)
    if not file.exists():
        partial = file.with_suffix(".partial")
        partial.write_text(str(os.getpid()))
        partial.rename(file)
        time.sleep(600)  # until it is killed
    return file.name


def forever(argument: str, shared: Shared) -> None:
    """Say who works on it, and never end."""
    Path(argument).write_text(str(os.getpid()))
    time.sleep(600)  # until it is killed


def by_name(argument: tuple[str, Any], shared: Shared) -> Any:
    """Call another of these."""
    name, argument_of_it = argument
    return globals()[name](argument_of_it, shared)


def ends(argument: object, shared: Shared) -> None:
    """End the process, always."""
    os._exit(3)
