"""An executor of processes on this machine.

They are spawned, so that they share nothing but what is published, and each has a pipe of its own, which a thread of
the worker empties: so whoever sends to it never waits, and it ends at once when the other end is gone, also when that
was killed. Published data is in shared memory, which the parent frees.
"""

import pickle
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from types import ModuleType
from typing import cast

from simulations.environment import WORKER, environment
from simulations.executors.calls import Call
from simulations.executors.dispatch import Dispatch
from simulations.executors.pool import Answers, Ended, Event, Ready
from simulations.executors.worker_process import PICKLE, Orders, buffer, work

JOIN_S = 5.0  # a process that was terminated and is still there after this is killed


def _how(code: int | None) -> str:
    """How a process ended."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


@contextmanager
def _no_main() -> Iterator[None]:
    """Let a process that is spawned leave out what the program itself has imported: it needs its function only."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@dataclass
class _Process:
    number: int
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    forget: list[str] = field(default_factory=list)  # withdrawn since it was last sent anything

    def event(self) -> Event:
        """What the process has to say, now that there is something."""
        try:
            answers, seconds = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            self.pipe.close()
            return Ended(self.number, _how(self.process.exitcode))
        if self.ready:
            return Answers(self.number, answers, seconds)
        self.ready = True
        return Ready(self.number)

    def end(self) -> None:
        self.process.join(JOIN_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Processes:
    """The pool: processes by number, and the shared memory that they read."""

    def __init__(self, function: str, logs: Path | None) -> None:
        self._function = function
        self._logs = logs
        self._numbers = count(1)
        self._processes: dict[int, _Process] = {}
        self._segments: dict[str, SharedMemory] = {}

    def _log(self, number: int) -> str:
        return "" if self._logs is None else str(self._logs / f"worker-{number}.log")

    def start(self) -> int:
        number = next(self._numbers)
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
        context = get_context("spawn")
        near, far = context.Pipe()
        process = context.Process(target=work, args=(self._function, far, self._log(number)), daemon=True)
        with environment(WORKER), _no_main():
            process.start()
        far.close()
        self._processes[number] = _Process(number, process, near)
        return number

    def give(self, worker: int, calls: Sequence[Call]) -> None:
        process = self._processes[worker]
        segments = {key: self._segments[key].name for call in calls for key in call.shared}
        orders = Orders(calls, segments, process.forget)
        with suppress(OSError):  # of a dead process, which `events` tells
            process.pipe.send_bytes(pickle.dumps(orders, PICKLE))
            process.forget = []

    def events(self) -> list[Event]:
        by_pipe = {process.pipe: process for process in self._processes.values()}
        found = [by_pipe[cast(Connection, pipe)].event() for pipe in wait(list(by_pipe))]
        for event in found:
            if isinstance(event, Ended):
                del self._processes[event.worker]
        return found

    def publish(self, key: str, data: bytes | memoryview) -> None:
        if key not in self._segments:
            size = memoryview(data).nbytes
            segment = SharedMemory(create=True, size=max(size, 1))
            self._segments[key] = segment
            buffer(segment)[:size] = memoryview(data).cast("B")

    def withdraw(self, key: str) -> None:
        segment = self._segments.pop(key, None)
        if segment is not None:
            for process in self._processes.values():
                process.forget.append(key)
            segment.close()
            segment.unlink()

    def hint(self, worker: int) -> str:
        where = f"see {self._log(worker)}" if self._logs else "their messages are above"
        return f"{where}; does `python -c 'import {self._function.partition(':')[0]}'` work, and is there memory left?"

    def close(self) -> None:
        processes, self._processes = list(self._processes.values()), {}
        for process in processes:
            process.pipe.close()
            process.process.terminate()
        for process in processes:
            process.end()
        for key in list(self._segments):  # now that nobody can attach to it any more
            self.withdraw(key)


class Workers(Dispatch):
    """An executor of at most `count` processes on this machine, one thread each.

    Args:
        function: `module:name` of what is called for each job.
        logs: a folder for `worker-N.log`, what the processes say; None leaves it on this one's output.
    """

    def __init__(self, function: str, count: int, logs: Path | None = None) -> None:
        super().__init__(_Processes(function, logs), count)
